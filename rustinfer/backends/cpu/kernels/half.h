// float16 scales to float32.
#pragma once
#include "vec.h"

INLINE float half_to_float(uint16_t h) {
    uint32_t sign = uint32_t(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 1023u, bits;
    if (exponent == 0) {
        float f = float(fraction) * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
INLINE vf load_half(const uint8_t* p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#else
    uint16_t h[LANES];
    memcpy(h, p, sizeof h);
    vf v;
    for (long i = 0; i < LANES; i++) v[i] = half_to_float(h[i]);
    return v;
#endif
}
// Sixteen scales, the first or second half of a strip's 32.
INLINE vf load_scale(const uint8_t* p, bool wide, int half) {
    return wide ? load((const float*)p + 16 * half) : load_half(p + 32 * half);
}
