// Products of packed weights with 16-bit activations, by the dot-product instructions of AVX-512 VNNI.
#include "integers.h"
#include "strips.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

template <long KIND, long R> static void direct(const Matrix& w, const int16_t* x, long ldx, const float* told, long ldt, long strip, float* c) {
    vf acc[R][2] = {};
    long bytes = w.block_bytes();
    const uint8_t* block = w.block(strip, 0);
    for (long b = 0; b < w.blocks(); b++, block += bytes, x += ldx, told += ldt) {
        ask_ahead(block, bytes);
        __m512i dot[R][2];
        UNROLL for (long i = 0; i < R; i++) dot[i][0] = dot[i][1] = _mm512_setzero_si512();
        UNROLL for (long p = 0; p < BLOCK / 2; p++) {
            __m512i w0 = pair_integers<KIND>(block, p, 0), w1 = pair_integers<KIND>(block, p, 1);
            UNROLL for (long i = 0; i < R; i++) {
                __m512i v = pair_of(x + i * BLOCK + 2 * p);
                dot[i][0] = _mm512_dpwssd_epi32(dot[i][0], w0, v);
                dot[i][1] = _mm512_dpwssd_epi32(dot[i][1], w1, v);
            }
        }
        add_block<R>(acc, dot, w, block, told);
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long KIND, long R = TILE> static void group(long rows, const Matrix& w, const int16_t* x, long ldx, const float* told, long ldt, long strip, float* c) {
    if (rows == R) return direct<KIND, R>(w, x, ldx, told, ldt, strip, c);
    if constexpr (R > 1) group<KIND, R - 1>(rows, w, x, ldx, told, ldt, strip, c);
}

// Only the first tile waits for memory: a strip stays in the nearest cache.
template <long KIND> static void kind(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    for (long r = 0, g = x.group; r < count; r += g)
        group<KIND>(count - r < g ? count - r : g, w, x.integers(r0 + r, 0), g * BLOCK, x.about(r0 + r, 0), g * TOLD, strip, c + r * STRIP);
}

void integer_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    if (ADDS_ARE_CHEAP && count >= QUICK_LEAST) return winograd_strip(w, x, r0, count, strip, c);
    (w.kind == INT4 ? kind<INT4> : kind<INT8>)(w, x, r0, count, strip, c);
}

#else
void integer_strip(const Matrix&, const Rows&, long, long, long, float*) {}
#endif

void multiply_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (x.e ? byte_strip : x.q ? integer_strip : w.packed() ? float_strip : dense_strip)(w, x, r0, count, strip, c);
}
