// Products of integers for many rows, with half the multiplications: a b + c d = (a + d)(c + b) - a c - b d (Winograd, 1968).
// What is too much, a c of two activations and b d of two weights, is known of a block before. All of it is modulo 2^32, in
// which the sum of a block has room: the same integers as integer.cpp's, to the bit, and the same floats.
#include "half.h"
#include "integers.h"
#include "pool.h"
#include "strips.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// A block of 32 columns and 32 outputs; index 1 of two is for the second half of the outputs.
struct Block {
    __m512i pairs[BLOCK / 2][2], excess[2];
    vf scales[2], zeros[2];
};
constexpr long SPAN = 6;  // blocks that stay in the first-level cache

template <long KIND> static void expand(const Matrix& w, const uint8_t* from, Block& out) {
    ask_ahead(from, w.block_bytes());
    const uint8_t *scales = from + w.integers(), *zeros = scales + STRIP * (w.wide ? 4 : 2);
    UNROLL for (int h = 0; h < 2; h++) {
        out.excess[h] = _mm512_setzero_si512();
        out.scales[h] = load_scale(scales, w.wide, h);
        out.zeros[h] = w.zeros ? load_scale(zeros, w.wide, h) : vf{};
        UNROLL for (long p = 0; p < BLOCK / 2; p += 2) {
            __m512i a = pair_integers<KIND>(from, p, h), b = pair_integers<KIND>(from, p + 1, h);
            out.pairs[p][h] = a, out.pairs[p + 1][h] = b;
            out.excess[h] = _mm512_dpwssd_epi32(out.excess[h], a, b);
        }
    }
}

// c[R][32] = (first ? 0 : c) + the products of one block after the other.
template <long R> static void tile(const Block* block, long blocks, bool first, bool zeros, const int16_t* x, long ldx, const float* told, long ldt, float* c) {
    vf acc[R][2];
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) acc[i][h] = first ? vf{} : load(c + i * STRIP + h * LANES);
    for (const Block* end = block + blocks; block < end; block++, x += ldx, told += ldt) {
        __m512i dot[R][2];
        UNROLL for (long i = 0; i < R; i++) {
            int32_t excess;
            memcpy(&excess, told + i * TOLD + 2, 4);
            UNROLL for (long h = 0; h < 2; h++) dot[i][h] = _mm512_sub_epi32(_mm512_set1_epi32(excess), block->excess[h]);
        }
        UNROLL for (long p = 0; p < BLOCK / 2; p += 2) {
            __m512i a0 = block->pairs[p][0], a1 = block->pairs[p][1], b0 = block->pairs[p + 1][0], b1 = block->pairs[p + 1][1];
            UNROLL for (long i = 0; i < R; i++) {
                __m512i u = pair_of(x + i * BLOCK + 2 * p), v = pair_of(x + i * BLOCK + 2 * p + 2);
                dot[i][0] = _mm512_dpwssd_epi32(dot[i][0], _mm512_add_epi16(u, b0), _mm512_add_epi16(v, a0));
                dot[i][1] = _mm512_dpwssd_epi32(dot[i][1], _mm512_add_epi16(u, b1), _mm512_add_epi16(v, a1));
            }
        }
        UNROLL for (long i = 0; i < R; i++)
            UNROLL for (long h = 0; h < 2; h++) acc[i][h] += (vf)_mm512_cvtepi32_ps(dot[i][h]) * block->scales[h] * told[i * TOLD];
        if (zeros)
            UNROLL for (long i = 0; i < R; i++)
                UNROLL for (long h = 0; h < 2; h++) acc[i][h] += block->zeros[h] * told[i * TOLD + 1];
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long R = TILE, class... Flow> static void group(long rows, Flow... flow) {
    if (rows == R) return tile<R>(flow...);
    if constexpr (R > 1) group<R - 1>(rows, flow...);
}

void winograd_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    Block* blocks = scratch<Block>(WEIGHTS, SPAN);
    for (long b = 0; b < w.blocks(); b += SPAN) {
        long n = w.blocks() - b < SPAN ? w.blocks() - b : SPAN;
        for (long i = 0; i < n; i++) (w.kind == INT4 ? expand<INT4> : expand<INT8>)(w, w.block(strip, b + i), blocks[i]);
        for (long r = 0; r < count; r += TILE)
            group(count - r < TILE ? count - r : TILE, blocks, n, b == 0, bool(w.zeros), x.integers(r0 + r, b), TILE * BLOCK, x.about(r0 + r, b), TILE * TOLD, c + r * STRIP);
    }
}

#else
void winograd_strip(const Matrix&, const Rows&, long, long, long, float*) {}
#endif
