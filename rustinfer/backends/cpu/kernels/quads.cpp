// Rows of 8 bits: a block's numbers are integers times a scale, which its largest sets. Most of what that loses, it loses to
// columns far larger than their neighbours. So where it pays, one quad of a block (four columns) has four bits more,
// and the other quads set the scale. A row alone decides which of its blocks: neighbours change nothing.
#include "matrix.h"
#include "pool.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// A quad pays where it spares this many times the error (of squares) that the row's mean block would have without any.
constexpr float WORTH = 0.5f;
constexpr float MORE = 16.0f;  // times a quad's numbers may be larger with four bits more
constexpr long FOUR = 4;       // blocks at a time: their maxima and sums share the shuffles

// Of each lane of 128 bits: numbers 0 and 2, or 1 and 3, of a, then those of b.
static INLINE __m512i evens(__m512i a, __m512i b) { return (__m512i)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x88); }
static INLINE __m512i odds(__m512i a, __m512i b) { return (__m512i)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xdd); }
static INLINE __m512i larger(__m512i a, __m512i b) { return _mm512_max_epu32(a, b); }

template <int ORDER> static INLINE void fold(__m512i& first, __m512i& second) {
    __m512i a = _mm512_shuffle_i32x4(first, first, ORDER), b = _mm512_shuffle_i32x4(second, second, ORDER);
    second = larger(_mm512_min_epu32(first, a), larger(second, b));
    first = larger(first, a);
}

// Of four blocks: the largest number, and the largest outside its quad. As integers' bits, a NaN is above infinity.
template <class Half> static INLINE void peaks(const Half& half, float* top, float* rest) {
    __m512i pairs[FOUR];
    UNROLL for (long i = 0; i < FOUR; i++) {
        __m512i a = (__m512i)magnitude(half(2 * i)), b = (__m512i)magnitude(half(2 * i + 1));
        pairs[i] = larger(evens(a, b), odds(a, b));
    }
    __m512i u = larger(evens(pairs[0], pairs[1]), odds(pairs[0], pairs[1])), v = larger(evens(pairs[2], pairs[3]), odds(pairs[2], pairs[3]));
    __m512i a = evens(u, v), b = odds(u, v), first = larger(a, b), second = _mm512_min_epu32(a, b);
    fold<0x4e>(first, second);
    fold<0xb1>(first, second);
    _mm_storeu_si128((__m128i*)top, _mm512_castsi512_si128(first));
    _mm_storeu_si128((__m128i*)rest, _mm512_castsi512_si128(second));
}

// Turns the two arrays of what `peaks` found into blocks' scales and their inverses.
static INLINE void scales(float* top, float* rest, long blocks) {
    vf squares{};
    for (long b = 0; b < blocks; b += LANES) squares += load(top + b) * load(top + b);
    vf worth = splat(WORTH * sum(squares) / float(blocks));
    for (long b = 0; b < blocks; b += LANES) {
        vf t = load(top + b), r = maximum(load(rest + b), t * (1.0f / MORE)), peak = select(t * t - r * r > worth, r, t);
        vi some = peak > splat(1e-30f);
        // Infinities and NaNs reach the output through the scale.
        store(top + b, select(t <= splat(3.4e38f), select(some, peak * (1.0f / 127.0f), vf{}), splat(NAN)));
        store(rest + b, select(some, 127.0f / peak, vf{}));
    }
}

// Four integers as bytes.
static INLINE void put_four(void* to, __m128i v) {
    int bytes = _mm_cvtsi128_si32(_mm_cvtepi32_epi8(v));
    memcpy(to, &bytes, 4);
}

// The integers of a block, as bytes; returns 1 + its quad of larger ones, or 0, and the quad's upper parts.
static INLINE uint8_t put(__m512i a, __m512i b, int8_t* q, float* upper) {
    _mm256_storeu_si256((__m256i*)q, _mm256_set_m128i(_mm512_cvtsepi32_epi8(b), _mm512_cvtsepi32_epi8(a)));
    const __m512i most = _mm512_set1_epi32(127), span = _mm512_set1_epi32(254);
    __m512i as = _mm512_add_epi32(a, most), bs = _mm512_add_epi32(b, most);
    if (!_mm512_cmpgt_epu32_mask(larger(as, bs), span)) return 0;
    uint32_t beyond = _mm512_cmpgt_epu32_mask(as, span) | uint32_t(_mm512_cmpgt_epu32_mask(bs, span)) << 16;
    long quad = __builtin_ctz(beyond) / 4;
    alignas(64) int32_t whole[BLOCK];
    _mm512_store_si512(whole, a);
    _mm512_store_si512(whole + LANES, b);
    __m128i all = _mm_load_si128((const __m128i*)whole + quad), high = _mm_srai_epi32(_mm_add_epi32(all, _mm_set1_epi32(8)), 4);
    put_four(q + 4 * quad, _mm_sub_epi32(all, _mm_slli_epi32(high, 4)));
    put_four(upper, high);
    return uint8_t(quad + 1);
}

// The sums of four blocks' integers.
static INLINE __m128i totals(const __m512i (&both)[FOUR]) {
    __m512i u = _mm512_add_epi32(evens(both[0], both[1]), odds(both[0], both[1])), v = _mm512_add_epi32(evens(both[2], both[3]), odds(both[2], both[3]));
    __m512i all = _mm512_add_epi32(evens(u, v), odds(u, v));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// Told of a block: its scale, the sum of its numbers once they are rounded (with their exact sum a zero would not meet the
// numbers that its integers meet), and, as integers' bits, what 128 more in every weight adds, negative, and the upper
// parts of its quad.
template <class Half> static INLINE void round_blocks(const Half& half, const float* scale, const float* inverse, long count, int8_t* q, float* told, uint8_t* fine, long group) {
    __m512i a[FOUR], b[FOUR], both[FOUR];
    UNROLL for (long i = 0; i < FOUR; i++) {
        a[i] = _mm512_cvtps_epi32((__m512)(half(2 * i) * inverse[i]));
        b[i] = _mm512_cvtps_epi32((__m512)(half(2 * i + 1) * inverse[i]));
        both[i] = _mm512_add_epi32(a[i], b[i]);
    }
    __m128i total = totals(both);
    __m128 about[FOUR] = {_mm_loadu_ps(scale), _mm_mul_ps(_mm_loadu_ps(scale), _mm_cvtepi32_ps(total)), _mm_castsi128_ps(_mm_slli_epi32(_mm_sub_epi32(_mm_setzero_si128(), total), 7))};
    _MM_TRANSPOSE4_PS(about[0], about[1], about[2], about[3]);
    UNROLL for (long i = 0; i < FOUR; i++) {
        if (i == count) return;
        _mm_storeu_ps(told + i * group * TOLD, about[i]);
        fine[i * TILE] = put(a[i], b[i], q + i * group * BLOCK, told + i * group * TOLD + 3);
    }
}

// Reads `row` up to a multiple of four blocks.
void round_bytes(const Rows& x, long r, const float* row) {
    long blocks = x.columns / BLOCK, room = (blocks + LANES - 1) / LANES * LANES, group = x.group;
    float *top = scratch<float>(PEAKS, 2 * room), *rest = top + room, *told = x.about(r, 0);
    int8_t* q = x.bytes(r, 0);
    uint8_t* fine = &x.fine(r, 0);
    // The order in which a mask of every other nibble finds the columns of a weight of 4 bits.
    const __m512i order = x.nibbles ? _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15) : _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    auto from = [&](long b) { return [=](long h) { return (vf)_mm512_permutexvar_ps(order, (__m512)load(row + b * BLOCK + h * LANES)); }; };
    for (long b = 0; b < blocks; b += FOUR) peaks(from(b), top + b, rest + b);
    for (long b = blocks; b < room; b++) top[b] = rest[b] = 0;
    scales(top, rest, blocks);
    for (long b = 0; b < blocks; b += FOUR, q += FOUR * group * BLOCK, told += FOUR * group * TOLD, fine += FOUR * TILE)
        round_blocks(from(b), top + b, rest + b, blocks - b, q, told, fine, group);
}

#else
void round_bytes(const Rows&, long, const float*) {}
#endif
