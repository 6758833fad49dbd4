// The innermost loops: a few rows times one strip of 32 outputs, everything in registers.
#pragma once
#include "matrix.h"

#if defined(__AVX512F__)
constexpr long FLOAT_ROWS = 12;  // 24 accumulators of 32 registers
#else
constexpr long FLOAT_ROWS = 2;
#endif
constexpr long INTEGER_ROWS = 6;  // 12 integer and 12 float accumulators

// c[R][ldc] (+)= a[R][lda] * w[k][32 floats], k = 0 .. depth - 1
template <long R> INLINE void float_tile(const float* a, long lda, const float* w, long ldw, float* c, long ldc, long depth, bool add) {
    vf acc[R][2];
    UNROLL for (long i = 0; i < R; i++) {
        acc[i][0] = add ? load(c + i * ldc) : vf{};
        acc[i][1] = add ? load(c + i * ldc + LANES) : vf{};
    }
    for (long k = 0; k < depth; k++) {
        vf w0 = load(w + k * ldw), w1 = load(w + k * ldw + LANES);
        UNROLL for (long i = 0; i < R; i++) {
            vf s = splat(a[i * lda + k]);
            acc[i][0] += s * w0;
            acc[i][1] += s * w1;
        }
    }
    UNROLL for (long i = 0; i < R; i++) {
        store(c + i * ldc, acc[i][0]);
        store(c + i * ldc + LANES, acc[i][1]);
    }
}

template <long R> inline void float_rows(long rows, const float* a, long lda, const float* w, long ldw, float* c, long ldc, long depth, bool add) {
    long r = 0;
    for (; r + R <= rows; r += R) float_tile<R>(a + r * lda, lda, w, ldw, c + r * ldc, ldc, depth, add);
    if constexpr (R > 1)
        if (r < rows) float_rows<(R > 6 ? 6 : R > 2 ? 2 : 1)>(rows - r, a + r * lda, lda, w, ldw, c + r * ldc, ldc, depth, add);
}

// Any number of rows. Same meaning as float_tile.
void float_product(long rows, const float* a, long lda, const float* w, long ldw, float* c, long ldc, long depth, bool add);

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
INLINE __m512i pair_of(const int16_t* p) {
    int32_t both;
    memcpy(&both, p, 4);
    return _mm512_set1_epi32(both);
}

// c[R][32] (+)= the sum over blocks of (a . w) * w scale * a scale + w zero * a sum. w holds, for each pair of columns,
// the 32 outputs' pairs of 16-bit numbers; s holds for each block 32 scales and 32 zeros; as, two floats a block.
template <long R> INLINE void integer_tile(const int16_t* a, long lda, const float* as, long ldas, const int16_t* w, const float* s, float* c, long blocks, bool add) {
    vf acc[R][2];
    UNROLL for (long i = 0; i < R; i++) {
        acc[i][0] = add ? load(c + i * STRIP) : vf{};
        acc[i][1] = add ? load(c + i * STRIP + LANES) : vf{};
    }
    for (long b = 0; b < blocks; b++) {
        __m512i dot[R][2];
        UNROLL for (long i = 0; i < R; i++) dot[i][0] = dot[i][1] = _mm512_setzero_si512();
        _Pragma("GCC unroll 4") for (long p = 0; p < BLOCK / 2; p++) {
            __m512i w0 = _mm512_loadu_si512(w + p * 64), w1 = _mm512_loadu_si512(w + p * 64 + 32);
            UNROLL for (long i = 0; i < R; i++) {
                __m512i x = pair_of(a + i * lda + 2 * p);
                dot[i][0] = _mm512_dpwssd_epi32(dot[i][0], w0, x);
                dot[i][1] = _mm512_dpwssd_epi32(dot[i][1], w1, x);
            }
        }
        vf s0 = load(s), s1 = load(s + 16), z0 = load(s + 32), z1 = load(s + 48);
        UNROLL for (long i = 0; i < R; i++) {
            vf scale = splat(as[i * ldas]), total = splat(as[i * ldas + 1]);
            acc[i][0] += (vf)_mm512_cvtepi32_ps(dot[i][0]) * s0 * scale;
            acc[i][1] += (vf)_mm512_cvtepi32_ps(dot[i][1]) * s1 * scale;
            acc[i][0] += z0 * total;
            acc[i][1] += z1 * total;
        }
        a += BLOCK, as += 2, w += BLOCK * STRIP, s += 64;
    }
    UNROLL for (long i = 0; i < R; i++) {
        store(c + i * STRIP, acc[i][0]);
        store(c + i * STRIP + LANES, acc[i][1]);
    }
}
#endif
