// Projections with what stands before and after them in a decoder layer.
#include "plan.h"
#include "rotary.h"

template <class T> static void gate_up(const Plan& p, View<T> x, View<T> residual, long rows, T* total, T* out) {
    const Matrix& w = p.w;
    long hidden = w.rows / 2;
    Rows a = prepare<T>(p, x, residual, total, nullptr, rows);
    if (hidden % STRIP == 0) {  // the strips of a gate and its up meet in one task
        Matrix gates = w;
        gates.rows = hidden;
        return product(gates, a, [&](long strip, long r0, long n, float* c) {
            float* up = scratch<float>(OUTPUT2, n * STRIP);
            multiply_strip(w, a, r0, n, strip + hidden / STRIP, up);
            for (long r = 0; r < n; r++)
                for (long h = 0; h < STRIP; h += LANES)
                    store(out + (r0 + r) * hidden + strip * STRIP + h, silu(load(c + r * STRIP + h)) * load(up + r * STRIP + h));
        });
    }
    float* both = scratch<float>(PROJECTED, rows * w.rows);
    product(w, a, [&](long strip, long r0, long n, const float* c) { put_strip<T>(w, nullptr, strip, r0, n, c, both, w.rows); });
    for (long r = 0; r < rows; r++)
        for (long h = 0; h < hidden; h += LANES) {
            const float* gate = both + r * w.rows + h;
            store(out + r * hidden + h, silu(load(gate, hidden - h)) * load(gate + hidden, hidden - h), hidden - h);
        }
}

struct Cache {
    const int64_t *positions, *slots;
    void *k, *v;
    long size;
};

template <class T> static void qkv(const Plan& p, View<T> x, View<T> residual, const Cache& cache, long rows, T* total, T* q) {
    const Matrix& w = p.w;
    long dim = p.dim, half = dim / 2;
    Rows a = prepare<T>(p, x, residual, total, nullptr, rows);
    float* all = scratch<float>(PROJECTED, rows * w.rows);
    product(w, a, [&](long strip, long r0, long n, const float* c) { put_strip(w, (const T*)p.bias, strip, r0, n, c, all, w.rows); });
    auto one = [&](long r) {
        const float *row = all + r * w.rows, *cos = p.cos + cache.positions[r] * half, *sin = p.sin + cache.positions[r] * half;
        for (long h = 0; h < p.heads; h++) rotate(row + h * dim, cos, sin, half, q + (r * p.heads + h) * dim);
        int64_t slot = cache.slots[r];
        if (slot < 0) return;
        for (long g = 0; g < p.kv_heads; g++) {
            rotate(row + (p.heads + g) * dim, cos, sin, half, cell<T>(cache.k, slot, cache.size, p.kv_heads, g, dim));
            const float* from = row + (p.heads + p.kv_heads + g) * dim;
            T* to = cell<T>(cache.v, slot, cache.size, p.kv_heads, g, dim);
            for (long i = 0; i < dim; i += LANES) store(to + i, load(from + i, dim - i), dim - i);
        }
    };
    if (rows <= 8)
        for (long r = 0; r < rows; r++) one(r);
    else parallel(rows, 8, one);
}

template <class T> static View<T> view(const void* x, long stride) { return {(const T*)x, stride}; }

extern "C" void ri_gate_up(const Plan* p, const void* x, const void* residual, long rows, void* total, void* out) {
    if (p->dtype == FLOAT32) gate_up(*p, view<f32>(x, p->w.columns), view<f32>(residual, p->w.columns), rows, (f32*)total, (f32*)out);
    else gate_up(*p, view<bf16>(x, p->w.columns), view<bf16>(residual, p->w.columns), rows, (bf16*)total, (bf16*)out);
}

extern "C" void ri_qkv(const Plan* p, const void* x, const void* residual, const int64_t* positions, const int64_t* slots, void* k, void* v, long size, long rows, void* total, void* q) {
    Cache cache{positions, slots, k, v, size};
    if (p->dtype == FLOAT32) qkv(*p, view<f32>(x, p->w.columns), view<f32>(residual, p->w.columns), cache, rows, (f32*)total, (f32*)q);
    else qkv(*p, view<bf16>(x, p->w.columns), view<bf16>(residual, p->w.columns), cache, rows, (bf16*)total, (bf16*)q);
}
