// Activations made ready for a product.
#include "matrix.h"
#include "pool.h"

Rows rows_for(const Matrix& w, long count, Dtype dtype) {
    Rows x{count, w.columns, nullptr, nullptr, nullptr};
    bool integer = HAS_INTEGER && w.packed() && dtype == BFLOAT16;
    long padded = (w.columns + LANES - 1) / LANES * LANES;
    x.columns = padded;
    if (integer) x.q = scratch<int16_t>(INTEGERS, count * padded);
    else x.f = scratch<float>(ROWS, count * padded + LANES);
    if (w.packed()) x.scales = scratch<float>(ROW_SCALES, count * w.blocks() * 2);
    return x;
}

static void quantise(const float* v, int16_t* q, float* scale) {
    vf a = load(v), b = load(v + LANES);
    float top = largest(maximum(magnitude(a), magnitude(b)));
    float inverse = top > 1e-30f ? 32767.0f / top : 0.0f;
    scale[0] = top > 1e-30f ? top * (1.0f / 32767.0f) : 0.0f;
    // Infinities and NaNs reach the output through the scale.
    if (!(top <= 3.4e38f) || sum(a + b) != sum(a + b)) scale[0] = NAN;
    scale[1] = sum(a + b);
#if defined(__AVX512F__)
    __m512i ia = _mm512_cvtps_epi32((__m512)(a * inverse)), ib = _mm512_cvtps_epi32((__m512)(b * inverse));
    _mm256_storeu_si256((__m256i*)q, _mm512_cvtsepi32_epi16(ia));
    _mm256_storeu_si256((__m256i*)(q + LANES), _mm512_cvtsepi32_epi16(ib));
#else
    for (long i = 0; i < BLOCK; i++) q[i] = int16_t(lrintf(v[i] * inverse));
#endif
}

void finish_row(const Rows& x, long r, const float* source) {
    long n = x.columns;
    if (x.integer()) {
        for (long b = 0; b < n / BLOCK; b++)
            quantise(source + b * BLOCK, x.q + r * n + b * BLOCK, x.scales + (r * (n / BLOCK) + b) * 2);
        return;
    }
    float* f = x.f + r * n;
    if (source && source != f) memcpy(f, source, size_t(n) * sizeof(float));
    if (!x.scales) return;
    for (long b = 0; b < n / BLOCK; b++)
        x.scales[(r * (n / BLOCK) + b) * 2 + 1] = sum(load(f + b * BLOCK) + load(f + b * BLOCK + LANES));
}

extern "C" long ri_has_integers() { return HAS_INTEGER; }
