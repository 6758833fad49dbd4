// Attention of single rows: the work is reading keys and values, in runs of 64 positions.
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

// The scores of one head in a run of n positions become weights; the head's sums so far are scaled to the new maximum.
static INLINE void soften(float* scores, long n, float* sums, float* stats, long padded) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vf high = splat(-INFINITY);
    for (long i = 0; i < n; i += LANES) {
        vf v = select(lane < (vi{} + int32_t(n - i)), load(scores + i), splat(-INFINITY));
        store(scores + i, v);
        high = maximum(high, v);
    }
    float top = largest(high), before = stats[0];
    if (top > before) {
        float keep = before == -INFINITY ? 0.0f : std::exp(before - top);
        stats[0] = top, stats[1] *= keep;
        for (long d = 0; d < padded; d += LANES) store(sums + d, load(sums + d) * keep);
    }
    vf total{};
    for (long i = 0; i < n; i += LANES) {
        vf weights = exponential(load(scores + i) - stats[0]);
        total += weights;
        store(scores + i, weights);
    }
    stats[1] += sum(total);
}

// sums[heads H][padded] += weights[H][RUN] times values[n][padded]: each value is read once for all H heads, V vectors of
// them at a time.
template <long H, long V, class T> static void mix(const float* weights, const T* values, long n, long padded, float* sums) {
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

template <long V, class T> static void mix_heads(long group, const float* weights, const T* values, long n, long padded, float* sums) {
    long h = 0;
    for (; h + 4 <= group; h += 4) mix<4, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    if (group - h == 3) mix<3, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    else if (group - h == 2) mix<2, V>(weights + h * RUN, values, n, padded, sums + h * padded);
    else if (group - h == 1) mix<1, V>(weights + h * RUN, values, n, padded, sums + h * padded);
}

template <class T> static void mix_all(long group, const float* weights, const T* values, long n, long padded, float* sums) {
    (padded % (4 * LANES) ? mix_heads<2, T> : mix_heads<4, T>)(group, weights, values, n, padded, sums);
}

// Keys and values are read where they lie if sixteen positions always lie together and a head's numbers fill registers.
#if defined(__AVX512BF16__)
static bool in_place(const Batch<f32>&) { return false; }
static bool in_place(const Batch<bf16>& b) { return b.size % LANES == 0 && b.dim % STRIP == 0; }

// The products of one head with sixteen keys. Products of bf16 are exact, their sums float.
static INLINE vf dots(const bf16* q, const bf16* keys, long dim) {
    vf v[16] = {};
    for (long d = 0; d < dim; d += 2 * LANES) {
        __m512bh x = (__m512bh)_mm512_loadu_si512(q + d);
        UNROLL for (long i = 0; i < 16; i++) v[i] = (vf)_mm512_dpbf16_ps((__m512)v[i], x, (__m512bh)_mm512_loadu_si512(keys + i * dim + d));
    }
    return sums_of(v);
}

static void attend_in_place(const Batch<bf16>& b, const Span& span, const Span& next, long row, float* sums, float* stats) {
    long dim = b.dim, group = b.group(), first = span.first, last = span.last;
    float* scores = scratch<float>(ATTEND, group * RUN);
    for (long h = 0; h < group; h++) {
        for (long d = 0; d < dim; d += LANES) store(sums + h * dim + d, vf{});
        stats[2 * h] = -INFINITY, stats[2 * h + 1] = 0;
    }
    for (long at = first / LANES * LANES; at < last; at += RUN) {
        long n = last - at < RUN ? last - at : RUN;
        long place[RUN / LANES];
        for (long i = 0; i < n; i += LANES) {
            ask_ahead(b, b.k, span, next, at + i, at + i + LANES);
            long page = b.pages[span.s * b.ldp + (at + i) / b.size];
            place[i / LANES] = ((page * b.kv_heads + span.g) * b.size + (at + i) % b.size) * dim;
            for (long h = 0; h < group; h++) store(scores + h * RUN + i, dots(b.query(row, span.g * group + h), b.k + place[i / LANES], dim) * b.scale);
        }
        for (long h = 0; h < group; h++) {
            for (long i = 0; i < first - at; i++) scores[h * RUN + i] = -INFINITY;
            soften(scores + h * RUN, n, sums + h * dim, stats + 2 * h, dim);
        }
        for (long i = 0; i < n; i += LANES) {
            ask_ahead(b, b.v, span, next, at + i, at + i + LANES);
            // What lies past the end need not be a number.
            mix_all(group, scores + i, b.v + place[i / LANES], n - i < LANES ? n - i : LANES, dim, sums);
        }
    }
}
#else
template <class T> static bool in_place(const Batch<T>&) { return false; }
#endif
template <class T> static void attend_in_place(const Batch<T>&, const Span&, const Span&, long, float*, float*) {}

template <class T> void attend_row(const Batch<T>& b, const Span& span, const Span& next, long row, float* sums, float* stats) {
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
        mix_all(group, scores, values, n, padded, sums);
    }
}
template void attend_row(const Batch<f32>&, const Span&, const Span&, long, float*, float*);
template void attend_row(const Batch<bf16>&, const Span&, const Span&, long, float*, float*);
