// Products of packed weights with 16-bit activations, by the dot-product instructions of AVX-512 VNNI.
#include "half.h"
#include "pool.h"
#include "strips.h"
#include "tiles.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// Pair p of a block as 16-bit numbers, for outputs 16 * half .. + 15.
template <long KIND> static INLINE __m512i pair_integers(const uint8_t* block, long p, int half) {
    if constexpr (KIND == INT4) {
        __m512i word = _mm512_loadu_si512(block + (p / 4 * STRIP + 16 * half) * 4);
        return _mm512_and_si512(_mm512_srli_epi32(word, unsigned(4 * (p % 4))), _mm512_set1_epi32(0x000f000f));
    }
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)(block + p * 2 * STRIP + 32 * half)));
}

template <long KIND, long R> static void direct(const Matrix& w, const int16_t* x, long ldx, const float* xs, long ldxs, long strip, float* c) {
    vf acc[R][2] = {};
    long bytes = w.block_bytes();
    const uint8_t* block = w.block(strip, 0);
    for (long b = 0; b < w.blocks(); b++, block += bytes) {
        ask_ahead(block, bytes);
        __m512i dot[R][2];
        UNROLL for (long i = 0; i < R; i++) dot[i][0] = dot[i][1] = _mm512_setzero_si512();
        UNROLL for (long p = 0; p < BLOCK / 2; p++) {
            __m512i w0 = pair_integers<KIND>(block, p, 0), w1 = pair_integers<KIND>(block, p, 1);
            UNROLL for (long i = 0; i < R; i++) {
                __m512i v = pair_of(x + i * ldx + b * BLOCK + 2 * p);
                dot[i][0] = _mm512_dpwssd_epi32(dot[i][0], w0, v);
                dot[i][1] = _mm512_dpwssd_epi32(dot[i][1], w1, v);
            }
        }
        const uint8_t* scales = block + w.integers();
        UNROLL for (int h = 0; h < 2; h++) {
            vf s = load_scale(scales, w.wide, h);
            UNROLL for (long i = 0; i < R; i++) acc[i][h] += (vf)_mm512_cvtepi32_ps(dot[i][h]) * s * xs[i * ldxs + b * 2];
            if (w.zeros) {
                vf z = load_scale(scales + STRIP * (w.wide ? 4 : 2), w.wide, h);
                UNROLL for (long i = 0; i < R; i++) acc[i][h] += z * xs[i * ldxs + b * 2 + 1];
            }
        }
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long KIND, long R = INTEGER_ROWS> static void group(long rows, const Matrix& w, const int16_t* a, long lda, const float* as, long ldas, long strip, float* c) {
    if (rows == R) return direct<KIND, R>(w, a, lda, as, ldas, strip, c);
    if constexpr (R > 1) group<KIND, R - 1>(rows, w, a, lda, as, ldas, strip, c);
}

// Rows in groups that fit the registers, of nearly one size: small ones cost most by the row. Only the first waits for
// memory: a strip stays in the nearest cache.
template <long KIND> static void kind(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    long lda = x.columns, ldas = w.blocks() * 2;
    const int16_t* a = x.q + r0 * lda;
    const float* as = x.scales + r0 * ldas;
    for (long left = (count + INTEGER_ROWS - 1) / INTEGER_ROWS, rows; left > 0; left--, count -= rows, a += rows * lda, as += rows * ldas, c += rows * STRIP) {
        rows = (count + left - 1) / left;
        group<KIND>(rows, w, a, lda, as, ldas, strip, c);
    }
}

void integer_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (w.kind == INT4 ? kind<INT4> : kind<INT8>)(w, x, r0, count, strip, c);
}

#else
void integer_strip(const Matrix&, const Rows&, long, long, long, float*) {}
#endif

void multiply_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (x.integer() ? integer_strip : w.packed() ? float_strip : dense_strip)(w, x, r0, count, strip, c);
}
