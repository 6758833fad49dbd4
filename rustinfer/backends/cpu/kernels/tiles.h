// The innermost loops: a few rows times one strip of 32 outputs, everything in registers.
#pragma once
#include "matrix.h"

#if defined(__AVX512F__)
constexpr long FLOAT_ROWS = 12;  // 24 accumulators of 32 registers
#else
constexpr long FLOAT_ROWS = 2;
#endif

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
#endif
