// One head rotated, and where the paged cache keeps a slot.
#pragma once
#include "plan.h"

// The halves of x (float or T) rotated by the angles whose cosines and sines are given.
template <class In, class T> INLINE void rotate(const In* x, const float* cos, const float* sin, long half, T* out) {
    for (long i = 0; i < half; i += LANES) {
        long n = half - i;
        vf c = load(cos + i, n), s = load(sin + i, n), a = load(x + i, n), b = load(x + half + i, n);
        store(out + i, a * c - b * s, n);
        store(out + half + i, b * c + a * s, n);
    }
}

// A cache [pages, heads, size, dim] at a slot.
template <class T> INLINE T* cell(void* cache, int64_t slot, long size, long heads, long head, long dim) {
    return (T*)cache + ((slot / size * heads + head) * size + slot % size) * dim;
}
