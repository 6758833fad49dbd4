// Products of packed weights with activations of 8 bits: four columns an instruction and lane, where 16 bits have two.
// A block's sum is an integer, and the floats of a row add up in one order: neighbours change nothing, to the bit.
#include "integers.h"
#include "strips.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// Columns 4 p .. 4 p + 3 of a block, as finish_row orders them, as bytes without a sign, for all 32 outputs. A weight of
// 8 bits is 128 too large then: what that adds is known of a row's block before.
template <long KIND> static INLINE void quads(const uint8_t* block, long p, __m512i& first, __m512i& second) {
    if constexpr (KIND == INT4) {
        const uint8_t* words = block + p / 2 * STRIP * 4;
        const __m512i low = _mm512_set1_epi8(15);
        first = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(words), unsigned(p % 2 * 4)), low);
        second = _mm512_and_si512(_mm512_srli_epi32(_mm512_loadu_si512(words + 64), unsigned(p % 2 * 4)), low);
    } else {
        const vu number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const __m512i take = (__m512i)(number | (number + 32) << 16), next = _mm512_add_epi16(take, _mm512_set1_epi16(16));
        const __m512i sign = _mm512_set1_epi8(-128);
        __m512i a = _mm512_xor_si512(_mm512_loadu_si512(block + p * 4 * STRIP), sign);
        __m512i b = _mm512_xor_si512(_mm512_loadu_si512(block + p * 4 * STRIP + 64), sign);
        first = _mm512_permutex2var_epi16(a, take, b);
        second = _mm512_permutex2var_epi16(a, next, b);
    }
}

// Adds a row's upper parts of quad p, whose numbers have 12 bits, times their weights.
template <long KIND> static INLINE void add_quad(const uint8_t* block, long p, const float* told, __m512i (&dot)[2]) {
    __m512i w0, w1, v = pair_of((const int16_t*)(told + 3));
    if constexpr (KIND == INT4) {
        const uint8_t* words = block + p / 2 * STRIP * 4;
        const __m512i high = _mm512_set1_epi8(-16);
        const __m128i up = _mm_cvtsi32_si128(p % 2 ? 0 : 4);
        w0 = _mm512_and_si512(_mm512_sll_epi32(_mm512_loadu_si512(words), up), high);
        w1 = _mm512_and_si512(_mm512_sll_epi32(_mm512_loadu_si512(words + 64), up), high);
        dot[0] = _mm512_dpbusd_epi32(dot[0], w0, v);
        dot[1] = _mm512_dpbusd_epi32(dot[1], w1, v);
    } else {
        quads<KIND>(block, p, w0, w1);
        dot[0] = _mm512_add_epi32(dot[0], _mm512_slli_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w0, v), 4));
        dot[1] = _mm512_add_epi32(dot[1], _mm512_slli_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w1, v), 4));
    }
}

template <long KIND, long R> static void tile(const Matrix& w, const int8_t* x, long ldx, const float* told, long ldt, const uint8_t* fine, long strip, float* c) {
    vf acc[R][2] = {};
    long bytes = w.block_bytes();
    const uint8_t* block = w.block(strip, 0);
    for (long b = 0; b < w.blocks(); b++, block += bytes, x += ldx, told += ldt, fine += TILE) {
        ask_ahead(block, bytes);
        __m512i dot[R][2];
        UNROLL for (long i = 0; i < R; i++) {
            if constexpr (KIND == INT4) dot[i][0] = _mm512_setzero_si512();
            else dot[i][0] = _mm512_castps_si512(_mm512_set1_ps(told[i * TOLD + 2]));
            dot[i][1] = dot[i][0];
        }
        UNROLL for (long p = 0; p < BLOCK / 4; p++) {
            __m512i w0, w1;
            quads<KIND>(block, p, w0, w1);
            UNROLL for (long i = 0; i < R; i++) {
                __m512i v = pair_of((const int16_t*)(x + i * BLOCK + 4 * p));
                dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], w0, v);
                dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], w1, v);
            }
        }
        uint64_t fines;
        memcpy(&fines, fine, 8);
        if (fines)
            UNROLL for (long i = 0; i < R; i++)
                if (fine[i]) add_quad<KIND>(block, fine[i] - 1, told + i * TOLD, dot[i]);
        add_block<R>(acc, dot, w, block, told);
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long KIND, long R = TILE> static void group(long rows, const Matrix& w, const int8_t* x, long ldx, const float* told, long ldt, const uint8_t* fine, long strip, float* c) {
    if (rows == R) return tile<KIND, R>(w, x, ldx, told, ldt, fine, strip, c);
    if constexpr (R > 1) group<KIND, R - 1>(rows, w, x, ldx, told, ldt, fine, strip, c);
}

template <long KIND> static void kind(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    for (long r = 0, g = x.group; r < count; r += g)
        group<KIND>(count - r < g ? count - r : g, w, x.bytes(r0 + r, 0), g * BLOCK, x.about(r0 + r, 0), g * TOLD, &x.fine(r0 + r, 0), strip, c + r * STRIP);
}

void byte_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (w.kind == INT4 ? kind<INT4> : kind<INT8>)(w, x, r0, count, strip, c);
}

#else
void byte_strip(const Matrix&, const Rows&, long, long, long, float*) {}
#endif
