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

template <long KIND, long R> static void tile(const Matrix& w, const int8_t* x, long ldx, const float* told, long ldt, long strip, float* c) {
    vf acc[R][2] = {};
    long bytes = w.block_bytes();
    const uint8_t* block = w.block(strip, 0);
    for (long b = 0; b < w.blocks(); b++, block += bytes, x += ldx, told += ldt) {
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
        add_block<R>(acc, dot, w, block, told);
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long KIND, long R = TILE, class... Flow> static void group(long rows, Flow... flow) {
    if (rows == R) return tile<KIND, R>(flow...);
    if constexpr (R > 1) group<KIND, R - 1>(rows, flow...);
}

void byte_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    for (long r = 0, g = x.group; r < count; r += g)
        (w.kind == INT4 ? group<INT4, TILE, const Matrix&, const int8_t*, long, const float*, long, long, float*> : group<INT8, TILE, const Matrix&, const int8_t*, long, const float*, long, long, float*>)(
            count - r < g ? count - r : g, w, x.bytes(r0 + r, 0), g * BLOCK, x.about(r0 + r, 0), g * TOLD, strip, c + r * STRIP);
}

// Told of a block: its scale, the sum of its numbers once they are rounded (with their exact sum a zero would not meet the
// numbers that its integers meet), and, as an integer's bits, what 128 more in every weight adds, negative.
void round_bytes(const float* v, int8_t* q, float* told, bool nibbles) {
    vf a = load(v), b = load(v + LANES);
    float top = largest(maximum(magnitude(a), magnitude(b)));
    float inverse = top > 1e-30f ? 127.0f / top : 0.0f, scale = top > 1e-30f ? top * (1.0f / 127.0f) : 0.0f;
    // Infinities and NaNs reach the output through the scale.
    if (!(top <= 3.4e38f) || _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q)) scale = NAN;
    __m512i ia = _mm512_cvtps_epi32((__m512)(a * inverse)), ib = _mm512_cvtps_epi32((__m512)(b * inverse));
    int32_t total = _mm512_reduce_add_epi32(_mm512_add_epi32(ia, ib)), less = -128 * total;
    told[0] = scale;
    told[1] = scale * float(total);
    memcpy(told + 2, &less, 4);
    __m256i all = _mm256_set_m128i(_mm512_cvtsepi32_epi8(ib), _mm512_cvtsepi32_epi8(ia));
    // The order in which a mask of every other nibble finds the columns of a weight of 4 bits.
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    _mm256_storeu_si256((__m256i*)q, nibbles ? _mm256_shuffle_epi8(all, order) : all);
}

#else
void byte_strip(const Matrix&, const Rows&, long, long, long, float*) {}
void round_bytes(const float*, int8_t*, float*, bool) {}
#endif
