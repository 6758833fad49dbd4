// Activations made ready for a product.
#include "matrix.h"
#include "pool.h"

void round_bytes(const Rows& x, long r, const float* row);

Rows rows_for(const Matrix& w, long count, Dtype dtype, bool eight) {
    // Few rows in tiles of nearly one size: small ones cost most by the row.
    long tiles = (count + TILE - 1) / TILE, group = count < QUICK_LEAST && tiles ? (count + tiles - 1) / tiles : TILE;
    Rows x{count, w.columns, group, nullptr, nullptr, nullptr, w.kind == INT4, nullptr, nullptr};
    bool integer = HAS_INTEGER && w.packed() && dtype == BFLOAT16;
    long padded = (w.columns + LANES - 1) / LANES * LANES;
    x.columns = padded;
    if (integer && eight) x.e = scratch<int8_t>(INTEGERS, tiles * group * padded);
    else if (integer) x.q = scratch<int16_t>(INTEGERS, tiles * group * padded);
    else x.f = scratch<float>(ROWS, count * padded + LANES);
    if (x.e) x.fines = scratch<uint8_t>(FINES, tiles * TILE * w.blocks());
    if (w.packed()) x.told = scratch<float>(ROW_SCALES, tiles * group * w.blocks() * TOLD);
    return x;
}

// Integers stay so far from 16 bits' ends that a weight of 8 bits can be added.
constexpr float MOST = 32639.0f;

static INLINE void quantise(const float* v, int16_t* q, float* told, bool excess) {
    vf a = load(v), b = load(v + LANES);
    float top = largest(maximum(magnitude(a), magnitude(b)));
    float inverse = top > 1e-30f ? MOST / top : 0.0f;
    told[0] = top > 1e-30f ? top * (1.0f / MOST) : 0.0f;
    // Infinities and NaNs reach the output through the scale.
    if (!(top <= 3.4e38f) || sum(a + b) != sum(a + b)) told[0] = NAN;
    told[1] = sum(a + b);
#if defined(__AVX512BW__)
    __m256i ia = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32((__m512)(a * inverse))), ib = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32((__m512)(b * inverse)));
    __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(ia), ib, 1);
    _mm512_storeu_si512(q, all);
    if (!excess) return;
    // Of each four columns, the products of those that are two apart: what Winograd's way has too much of, negative.
    int32_t less = -_mm512_mask_reduce_add_epi32(0x5555, _mm512_madd_epi16(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB)));
    memcpy(told + 2, &less, 4);
#else
    for (long i = 0; i < BLOCK; i++) q[i] = int16_t(lrintf(v[i] * inverse));
#endif
}

void finish_row(const Rows& x, long r, const float* source) {
    long n = x.columns;
    if (x.e) return round_bytes(x, r, source);
    if (x.integer()) {
        bool excess = ADDS_ARE_CHEAP && x.count >= QUICK_LEAST;
        int16_t* q = x.integers(r, 0);
        float* told = x.about(r, 0);
        for (long b = 0; b < n / BLOCK; b++, q += x.group * BLOCK, told += x.group * TOLD) quantise(source + b * BLOCK, q, told, excess);
        return;
    }
    float* f = x.f + r * n;
    if (source && source != f) memcpy(f, source, size_t(n) * sizeof(float));
    if (!x.told) return;
    for (long b = 0; b < n / BLOCK; b++)
        x.about(r, b)[1] = sum(load(f + b * BLOCK) + load(f + b * BLOCK + LANES));
}

extern "C" long ri_has_integers() { return HAS_INTEGER; }
