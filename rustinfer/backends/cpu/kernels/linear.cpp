// Products on their own: linear and lm_head.
#include "plan.h"

template <class T> static void linear(const Plan& p, const void* x, long rows, void* out) {
    Rows a = prepare<T>(p, {(const T*)x, p.w.columns}, {}, nullptr, nullptr, rows);
    product(p.w, a, [&](long strip, long r0, long n, const float* c) { put_strip(p.w, (const T*)p.bias, strip, r0, n, c, (T*)out, p.w.rows); });
}

template <class T> static void head(const Plan& p, const void* x, const int64_t* pick, long rows, float* out) {
    Rows a = prepare<T>(p, {(const T*)x, p.w.columns}, {}, nullptr, pick, rows);
    product(p.w, a, [&](long strip, long r0, long n, const float* c) { put_strip<T>(p.w, nullptr, strip, r0, n, c, out, p.w.rows); });
}

extern "C" void ri_linear(const Plan* p, const void* x, long rows, void* out) {
    (p->dtype == FLOAT32 ? linear<f32> : linear<bf16>)(*p, x, rows, out);
}
extern "C" void ri_lm_head(const Plan* p, const void* x, const int64_t* pick, long rows, float* out) {
    (p->dtype == FLOAT32 ? head<f32> : head<bf16>)(*p, x, pick, rows, out);
}
