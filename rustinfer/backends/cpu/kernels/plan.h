// What a binding freezes: made once, passed by pointer with every call.
#pragma once
#include "matrix.h"
#include "pool.h"

struct Plan {
    Matrix w;
    long dtype;            // of activations, bias and norm weight
    long eight;            // activations of bfloat16 meet packed weights as integers of 8 bits, not 16
    const void* bias;      // [w.rows] or null
    const void* norm;      // [w.columns]: the rows are normalised first; null where they are not
    double eps;
    const float *cos, *sin;  // [positions, dim / 2]
    long heads, kv_heads, dim;
};

template <class T> constexpr Dtype dtype_of();
template <> constexpr Dtype dtype_of<f32>() { return FLOAT32; }
template <> constexpr Dtype dtype_of<bf16>() { return BFLOAT16; }

// Strided rows of activations, the last axis dense.
template <class T> struct View {
    const T* at;
    long stride;
    const T* row(long r) const { return at + r * stride; }
};

// The sum of two rows, rounded, to `total` (where there is a residual), then the normalised row to `out` in float.
template <class T> void normalise(const T* x, const T* residual, T* total, const T* weight, double eps, long width, float* out);

// Rows ready for the plan's matrix, normalised first if the plan says so. pick (may be null) selects rows of x.
template <class T> Rows prepare(const Plan& p, View<T> x, View<T> residual, T* total, const int64_t* pick, long count);

// Rows of a task: where there are enough, so few that each thread has rows of its own, which stay in its caches from one
// product to the next. Fetching them from another core's takes time.
inline long row_block(long count) {
    long most = count / ROWS_LEAST < pool_threads() ? count / ROWS_LEAST : pool_threads();
    long blocks = (count + ROW_BLOCK - 1) / ROW_BLOCK;
    if (most > blocks) blocks = most;
    return ((count + blocks - 1) / blocks + 7) / 8 * 8;
}

// Every strip of the product: done(strip, first row, rows, C[rows][32]). In parallel.
template <class F> void product(const Matrix& w, const Rows& x, const F& done) {
    if (x.count == 0) return;
    long strips = w.strips(), block = row_block(x.count), tasks = strips * ((x.count + block - 1) / block);
    // With more rows a task takes longer, and handing it out costs the same: in smaller shares the threads end together.
    long grain = tasks / (pool_threads() * (x.count > 3 ? 24 : 8));
    if (x.count * w.columns * STRIP * tasks < 65536) grain = tasks;  // sooner done than handed out
    parallel(tasks, grain < 1 ? 1 : grain, [&](long task) {
        long strip = task % strips, r0 = task / strips * block;
        long rows = x.count - r0 < block ? x.count - r0 : block;
        float* c = scratch<float>(OUTPUT, rows * STRIP);
        multiply_strip(w, x, r0, rows, strip, c);
        done(strip, r0, rows, c);
    });
}

// Writes a strip's results with their bias to a row-major [.., w.rows] array.
template <class T, class Out> void put_strip(const Matrix& w, const T* bias, long strip, long r0, long rows, const float* c, Out* out, long stride) {
    long n = strip * STRIP, width = w.rows - n < STRIP ? w.rows - n : STRIP;
    for (long h = 0; h < width; h += LANES) {
        vf b = bias ? load(bias + n + h, width - h) : vf{};
        for (long r = 0; r < rows; r++) store(out + (r0 + r) * stride + n + h, load(c + r * STRIP + h) + b, width - h);
    }
}
