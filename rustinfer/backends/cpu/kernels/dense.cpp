// Products with dense weights as torch stores them, row by row.
#include "pool.h"
#include "strips.h"
#include "tiles.h"

void float_product(long rows, const float* a, long lda, const float* w, long ldw, float* c, long ldc, long depth, bool add) {
    float_rows<FLOAT_ROWS>(rows, a, lda, w, ldw, c, ldc, depth, add);
}

// A few rows: dot products along the weight's own rows, four outputs at a time.
template <class T, long R> static void dots(const T* w, long stride, long outputs, long columns, const float* x, long ldx, float* c) {
    for (long n = 0; n < STRIP; n += 4) {
        vf acc[4][R] = {};
        const T* row[4];
        UNROLL for (long j = 0; j < 4; j++) row[j] = w + (n + j < outputs ? n + j : 0) * stride;
        long k = 0;
        for (; k + LANES <= columns; k += LANES) {
            vf xs[R];
            UNROLL for (long i = 0; i < R; i++) xs[i] = load(x + i * ldx + k);
            UNROLL for (long j = 0; j < 4; j++) {
                vf v = load(row[j] + k);
                UNROLL for (long i = 0; i < R; i++) acc[j][i] += v * xs[i];
            }
        }
        if (k < columns)
            for (long j = 0; j < 4; j++) {
                vf v = load(row[j] + k, columns - k);
                for (long i = 0; i < R; i++) acc[j][i] += v * load(x + i * ldx + k);
            }
        UNROLL for (long j = 0; j < 4; j++)
            UNROLL for (long i = 0; i < R; i++) c[i * STRIP + n + j] = n + j < outputs ? sum(acc[j][i]) : 0.0f;
    }
}


// v[i][j] becomes v[j][i]: in four rounds, off-diagonal squares of 8, 4, 2 and 1 change places.
static INLINE void transpose(vf v[16]) {
#define ROUND(S, LOW, HIGH)                                                   \
    UNROLL for (long i = 0; i < 16; i++) if (!(i & S)) {                      \
        vf a = v[i], b = v[i + S];                                            \
        v[i] = LOW;                                                           \
        v[i + S] = HIGH;                                                      \
    }
    ROUND(8, __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
          __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    ROUND(4, __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
          __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    ROUND(2, __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
          __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    ROUND(1, __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
          __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef ROUND
}

template <class T> void transposed(const T* w, long stride, long outputs, long first, long depth, float* out, long ldo) {
    for (long n = 0; n < ldo; n += LANES)
        for (long k = 0; k < depth; k += LANES) {
            vf v[16];
            long left = depth - k < LANES ? depth - k : LANES;
            for (long j = 0; j < LANES; j++) v[j] = n + j < outputs ? load(w + (n + j) * stride + first + k, left) : vf{};
            transpose(v);
            for (long j = 0; j < left; j++) store(out + (k + j) * ldo + n, v[j]);
        }
}
template void transposed<f32>(const f32*, long, long, long, long, float*, long);
template void transposed<bf16>(const bf16*, long, long, long, long, float*, long);

template <class T> static void strip_of(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    const T* data = (const T*)w.data + strip * STRIP * w.stride;
    long outputs = w.rows - strip * STRIP < STRIP ? w.rows - strip * STRIP : STRIP;
    const float* a = x.f + r0 * x.columns;
    switch (count) {
        case 1: return dots<T, 1>(data, w.stride, outputs, w.columns, a, x.columns, c);
        case 2: return dots<T, 2>(data, w.stride, outputs, w.columns, a, x.columns, c);
        case 3: return dots<T, 3>(data, w.stride, outputs, w.columns, a, x.columns, c);
        case 4: return dots<T, 4>(data, w.stride, outputs, w.columns, a, x.columns, c);
    }
    float* panel = scratch<float>(WEIGHTS, DEPTH * STRIP);
    for (long k = 0; k < w.columns; k += DEPTH) {
        long depth = w.columns - k < DEPTH ? w.columns - k : DEPTH;
        transposed(data, w.stride, outputs, k, depth, panel, STRIP);
        float_product(count, a + k, x.columns, panel, STRIP, c, STRIP, depth, k > 0);
    }
}

void dense_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (w.kind == DENSE_F32 ? strip_of<f32> : strip_of<bf16>)(w, x, r0, count, strip, c);
}
