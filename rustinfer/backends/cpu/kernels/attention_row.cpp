// Attention of single rows: the work is reading keys and values, sixteen positions at a time.
#include "attention.h"

#define FOLD(S, LOW, HIGH)                                                     \
    UNROLL for (long i = 0; i < S; i++) {                                      \
        vf a = v[i], b = v[i + S];                                             \
        v[i] = LOW + HIGH;                                                     \
    }

// The sums of sixteen vectors, as the lanes of one.
static INLINE vf sums_of(vf v[16]) {
    FOLD(8, __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
         __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    FOLD(4, __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    FOLD(2, __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
         __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    FOLD(1, __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
    return v[0];
}
#undef FOLD

static INLINE vf dots(const float* q, const float* keys, long padded) {
    vf v[16] = {};
    for (long d = 0; d < padded; d += LANES) {
        vf x = load(q + d);
        UNROLL for (long i = 0; i < 16; i++) v[i] += x * load(keys + i * padded + d);
    }
    return sums_of(v);
}

template <class T> void attend_row(const Batch<T>& b, long s, long g, long row, long first, long last, float* sums, float* stats) {
    long padded = b.padded(), group = b.group();
    float *keys = scratch<float>(ATTEND, 32 * padded + group * padded), *values = keys + 16 * padded, *q = values + 16 * padded;
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (long h = 0; h < group; h++) {
        const T* from = b.query(row, g * group + h);
        for (long d = 0; d < padded; d += LANES) {
            store(q + h * padded + d, load(from + d, b.dim - d > 0 ? b.dim - d : 0) * b.scale);
            store(sums + h * padded + d, vf{});
        }
        stats[2 * h] = -INFINITY, stats[2 * h + 1] = 0;
    }
    for (long at = first; at < last; at += LANES) {
        long n = last - at < LANES ? last - at : LANES;
        gather(b, b.k, s, g, at, n, keys, padded);
        gather(b, b.v, s, g, at, n, values, padded);
        for (long h = 0; h < group; h++) {
            float* acc = sums + h * padded;
            vf scores = select(lane < (vi{} + int32_t(n)), dots(q + h * padded, keys, padded), splat(-INFINITY));
            float top = largest(scores), before = stats[2 * h];
            if (top > before) {
                float keep = before == -INFINITY ? 0.0f : std::exp(before - top);
                stats[2 * h] = top, stats[2 * h + 1] *= keep;
                for (long d = 0; d < padded; d += LANES) store(acc + d, load(acc + d) * keep);
            }
            vf weights = exponential(scores - stats[2 * h]);
            stats[2 * h + 1] += sum(weights);
            float each[LANES];
            store(each, weights);
            for (long d = 0; d < padded; d += 2 * LANES) {  // four sums, to hide the latency of each
                vf a = load(acc + d), b = load(acc + d + LANES), c{}, e{};
                long i = 0;
                for (; i + 2 <= n; i += 2) {
                    const float* v = values + i * padded + d;
                    a += each[i] * load(v), b += each[i] * load(v + LANES);
                    c += each[i + 1] * load(v + padded), e += each[i + 1] * load(v + padded + LANES);
                }
                if (i < n) a += each[i] * load(values + i * padded + d), b += each[i] * load(values + i * padded + d + LANES);
                store(acc + d, a + c);
                store(acc + d + LANES, b + e);
            }
        }
    }
}
template void attend_row(const Batch<f32>&, long, long, long, long, long, float*, float*);
template void attend_row(const Batch<bf16>&, long, long, long, long, long, float*, float*);
