// One strip of a product, for each form of weight and activation.
#pragma once
#include "matrix.h"

constexpr long DEPTH = 256;  // columns of a strip expanded at a time: 32 KiB, inside the first-level cache

// Asks memory for the block that comes some hundred nanoseconds later: the hardware's own prefetching stops at every
// 4 KiB. An address past the weight's end is harmless.
INLINE void ask_ahead(const uint8_t* block, long bytes) {
    constexpr long AHEAD = 8192;
    for (long line = 0; line < bytes; line += 64) __builtin_prefetch(block + AHEAD + line);
}

void dense_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);
void float_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);
void integer_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);
void byte_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);
void winograd_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);

// out[k][ldo] = w[0 .. ldo - 1][first + k]; rows past `outputs` are zero. ldo is a multiple of 16.
template <class T> void transposed(const T* w, long stride, long outputs, long first, long depth, float* out, long ldo);
