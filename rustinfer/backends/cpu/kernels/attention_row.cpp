// Attention of single rows: the work is reading keys and values, in runs of 64 positions.
#include "attention.h"
#include "scores.h"

static INLINE vf dots(const float* q, const float* keys, long padded) {
    vf v[16] = {};
    for (long d = 0; d < padded; d += LANES) {
        vf x = load(q + d);
        UNROLL for (long i = 0; i < 16; i++) v[i] += x * load(keys + i * padded + d);
    }
    return sums_of(v);
}

// sums[heads H][padded] += weights[H][RUN] times values[n][padded]: each value is read once for all H heads, V vectors of
// them at a time.
template <long H, long V> static void mix(const float* weights, const float* values, long n, long padded, float* sums) {
    for (long d = 0; d < padded; d += V * LANES) {
        vf acc[H][V];
        UNROLL for (long h = 0; h < H; h++)
            UNROLL for (long v = 0; v < V; v++) acc[h][v] = load(sums + h * padded + d + v * LANES);
        for (long i = 0; i < n; i++) {
            vf x[V];
            UNROLL for (long v = 0; v < V; v++) x[v] = load(values + i * padded + d + v * LANES);
            UNROLL for (long h = 0; h < H; h++) {
                vf w = splat(weights[h * RUN + i]);
                UNROLL for (long v = 0; v < V; v++) acc[h][v] += w * x[v];
            }
        }
        UNROLL for (long h = 0; h < H; h++)
            UNROLL for (long v = 0; v < V; v++) store(sums + h * padded + d + v * LANES, acc[h][v]);
    }
}

template <long V> static void mix_heads(long group, const float* weights, const float* values, long n, long padded, float* sums) {
    long h = 0;
    for (; h + 4 <= group; h += 4) mix<4, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    if (group - h == 3) mix<3, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    else if (group - h == 2) mix<2, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    else if (group - h == 1) mix<1, V>(weights + h * RUN, values, n, padded, sums + h * padded);
}

template <class T> void attend_row(const Batch<T>& b, const Span& span, const Span& next, long row, float* sums, float* stats) {
    if constexpr (PRODUCTS<T>)
        if (in_place(b)) return attend_in_place(b, span, next, row, sums, stats);
    long padded = b.padded(), group = b.group(), s = span.s, g = span.g;
    float *keys = scratch<float>(ATTEND, 2 * RUN * padded + group * (padded + RUN)), *values = keys + RUN * padded;
    float *q = values + RUN * padded, *scores = q + group * padded;
    for (long h = 0; h < group; h++) {
        const T* from = b.query(row, g * group + h);
        for (long d = 0; d < padded; d += LANES) {
            store(q + h * padded + d, load(from + d, b.dim - d > 0 ? b.dim - d : 0) * b.scale);
            store(sums + h * padded + d, vf{});
        }
        stats[2 * h] = -INFINITY, stats[2 * h + 1] = 0;
    }
    for (long at = span.first; at < span.last; at += RUN) {
        long n = span.last - at < RUN ? span.last - at : RUN;
        ask_ahead(b, b.k, span, next, at, at + RUN);
        ask_ahead(b, b.v, span, next, at, at + RUN);
        gather(b, b.k, s, g, at, n, keys, padded);
        gather(b, b.v, s, g, at, n, values, padded);
        for (long i = 0; i < n; i += LANES)
            for (long h = 0; h < group; h++) store(scores + h * RUN + i, dots(q + h * padded, keys + i * padded, padded));
        for (long h = 0; h < group; h++) soften(scores + h * RUN, n, sums + h * padded, stats + 2 * h, padded);
        (padded % (4 * LANES) ? mix_heads<2> : mix_heads<4>)(group, scores, values, n, padded, sums);
    }
}
template void attend_row(const Batch<f32>&, const Span&, const Span&, long, float*, float*);
template void attend_row(const Batch<bf16>&, const Span&, const Span&, long, float*, float*);
