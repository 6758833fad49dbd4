// Sixteen-lane vectors in the compilers' own vector extension: one source for AVX-512, AVX2, NEON and plain machines.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
constexpr long LANES = 16;

#define UNROLL _Pragma("GCC unroll 32")
#define INLINE inline __attribute__((always_inline))

// Activations are stored as one of these; all arithmetic is in float.
using f32 = float;
struct bf16 { uint16_t bits; };
enum Dtype : long { FLOAT32 = 0, BFLOAT16 = 1 };

INLINE vf splat(float x) { return vf{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE float widen(f32 x) { return x; }
INLINE float widen(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
INLINE void narrow(float x, f32& y) { y = x; }
INLINE void narrow(float x, bf16& y) {
    uint32_t u;
    memcpy(&u, &x, 4);
    // Round to nearest even; a NaN stays one.
    y.bits = (u & 0x7fffffffu) > 0x7f800000u ? uint16_t(u >> 16 | 0x40u) : uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
INLINE vf load(const f32* p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE vf load(const bf16* p) {
    vh h;
    memcpy(&h, p, sizeof h);
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
INLINE void store(f32* p, vf v) { memcpy(p, &v, sizeof v); }
INLINE void store(bf16* p, vf v) {
#if defined(__AVX512BF16__)
    __m256bh h = _mm512_cvtneps_pbh((__m512)v);  // numbers below 2^-126 become zero
#else
    vu u = (vu)v, even = (u + 0x7fffu + (u >> 16 & 1u)) >> 16, nan = u >> 16 | 0x40u;
    vu mask = (vu)((vi)(u & 0x7fffffffu) > 0x7f800000);
    vh h = __builtin_convertvector((nan & mask) | (even & ~mask), vh);
#endif
    memcpy(p, &h, sizeof h);
}
// The first n of sixteen; the rest read as zero and are not written.
template <class T> INLINE vf load(const T* p, long n) {
    if (n >= LANES) return load(p);
    T part[LANES] = {};
    for (long i = 0; i < n; i++) part[i] = p[i];
    return load(part);
}
template <class T> INLINE void store(T* p, vf v, long n) {
    if (n >= LANES) return store(p, v);
    T part[LANES];
    store(part, v);
    for (long i = 0; i < n; i++) p[i] = part[i];
}
INLINE vf select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vf maximum(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return select(a > b, a, b);
#endif
}
INLINE vf magnitude(vf a) { return (vf)((vu)a & 0x7fffffffu); }
INLINE float sum(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float s = 0;
    for (long i = 0; i < LANES; i++) s += v[i];
    return s;
#endif
}
INLINE float largest(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float s = v[0];
    for (long i = 1; i < LANES; i++) s = v[i] > s ? v[i] : s;
    return s;
#endif
}

// e^x, to two units in the last place; 0 below -87.3 (with AVX-512 below -104, where no number is small enough), and
// infinity above 88.7.
INLINE vf exponential(vf x) {
#if defined(__AVX512F__)
    vf c = (vf)_mm512_min_ps((__m512)splat(200.0f), _mm512_max_ps((__m512)splat(-200.0f), (__m512)x));  // a NaN stays one
#else
    vf low = splat(-87.33654f), high = splat(88.72283f);
    vf c = select(x < low, low, select(x > high, high, x));
#endif
    vf t = c * 1.44269504f + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer in the low bits
    vf k = t - 12582912.0f;
    vf r = c - k * 0.693145752f - k * 1.42860677e-6f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
    // Two steps, since 2^128 alone is no float.
    vi n = (vi)t - 0x4b400000, half = n >> 1;
    vf y = p * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
    y = select(x < low, splat(0.0f), y);
    y = select(x > high, splat(INFINITY), y);
    return select(x != x, x, y);
#endif
}

INLINE vf silu(vf x) { return x / (1.0f + exponential(-x)); }
// tanh form; 0.5 (1 + tanh u) = 1 / (1 + e^-2u)
INLINE vf gelu(vf x) { return x / (1.0f + exponential(-1.59576912f * (x + 0.044715f * x * x * x))); }
