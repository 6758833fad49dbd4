// Root-mean-square normalisation, alone and in front of a product.
#include "plan.h"

template <class T> void normalise(const T* x, const T* residual, T* total, const T* weight, double eps, long width, float* out) {
    vf squares{};
    for (long k = 0; k < width; k += LANES) {
        vf v = load(x + k, width - k);
        if (residual) {
            store(total + k, v + load(residual + k, width - k), width - k);
            v = load(total + k, width - k);
        }
        squares += v * v;
        store(out + k, v, width - k);
    }
    float scale = float(1.0 / std::sqrt(double(sum(squares)) / double(width) + eps));
    for (long k = 0; k < width; k += LANES) store(out + k, load(out + k, width - k) * scale * load(weight + k, width - k), width - k);
}

static bool few(long rows, long width) { return rows <= 4 || rows * width < 8192; }

template <class T> Rows prepare(const Plan& p, View<T> x, View<T> residual, T* total, const int64_t* pick, long count) {
    const Matrix& w = p.w;
    Rows rows = rows_for(w, count, dtype_of<T>(), p.eight);
    auto one = [&](long r) {
        float* row = rows.integer() ? scratch<float>(ROW, rows.columns + 3 * BLOCK) : rows.f + r * rows.columns;
        const T* from = x.row(pick ? pick[r] : r);
        for (long k = w.columns; k < rows.columns; k++) row[k] = 0;
        if (p.norm) normalise(from, residual.at ? residual.row(r) : nullptr, total + r * w.columns, (const T*)p.norm, p.eps, w.columns, row);
        else
            for (long k = 0; k < w.columns; k += LANES) store(row + k, load(from + k, w.columns - k), w.columns - k);
        finish_row(rows, r, row);
    };
    if (few(count, w.columns))
        for (long r = 0; r < count; r++) one(r);
    else parallel(count, 4, one);
    return rows;
}
template Rows prepare(const Plan&, View<f32>, View<f32>, f32*, const int64_t*, long);
template Rows prepare(const Plan&, View<bf16>, View<bf16>, bf16*, const int64_t*, long);

template <class T>
static void norms(const T* x, const T* residual, T* total, const T* weight, double eps, long rows, long width, T* out) {
    auto one = [&](long r) {
        float* row = scratch<float>(ROW, width + LANES);
        normalise(x + r * width, residual ? residual + r * width : nullptr, total + r * width, weight, eps, width, row);
        for (long k = 0; k < width; k += LANES) store(out + r * width + k, load(row + k, width - k), width - k);
    };
    if (few(rows, width))
        for (long r = 0; r < rows; r++) one(r);
    else parallel(rows, 4, one);
}

extern "C" void ri_norm(long dtype, const void* x, const void* residual, void* total, const void* weight, double eps, long rows, long width, void* out) {
    if (dtype == FLOAT32) norms((const f32*)x, (const f32*)residual, (f32*)total, (const f32*)weight, eps, rows, width, (f32*)out);
    else norms((const bf16*)x, (const bf16*)residual, (bf16*)total, (const bf16*)weight, eps, rows, width, (bf16*)out);
}
