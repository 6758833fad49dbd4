// Scores of single rows: from products to sums, and from sums to weights.
#pragma once
#include "vec.h"

// Neighbours' sums: of v[2 i] and v[2 i + 1] to v[i], where X and Y take two halves each of a (0 .. 15) and b (16 .. 31).
#define FOLD(N, X, Y)                                                          \
    UNROLL for (long i = 0; i < N; i++) {                                      \
        vf a = v[2 * i], b = v[2 * i + 1];                                     \
        v[i] = X + Y;                                                          \
    }
#define EVEN __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30)
#define ODD __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31)
#define EVEN_FOURS __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_FOURS __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)

// The sums of sixteen vectors, as the lanes of one: first inside each four lanes, which is the cheaper way to move them.
static INLINE vf sums_of(vf v[16]) {
    FOLD(8, EVEN, ODD)
    FOLD(4, EVEN, ODD)
    FOLD(2, EVEN_FOURS, ODD_FOURS)
    FOLD(1, EVEN_FOURS, ODD_FOURS)
    return v[0];
}
#undef FOLD

// The scores of one head in a run of n positions become weights; the head's sums so far are scaled to the new maximum.
static INLINE void soften(float* scores, long n, float* sums, float* stats, long padded) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    long end = (n - 1) / LANES * LANES;
    store(scores + end, select(lane < (vi{} + int32_t(n - end)), load(scores + end), splat(-INFINITY)));
    vf high = splat(-INFINITY), total{};
    for (long i = 0; i < n; i += LANES) high = maximum(high, load(scores + i));
    float top = largest(high), before = stats[0];
    if (top > before) {
        stats[0] = top;
        if (before > -INFINITY) {
            float keep = std::exp(before - top);
            stats[1] *= keep;
            for (long d = 0; d < padded; d += LANES) store(sums + d, load(sums + d) * keep);
        }
    }
    for (long i = 0; i < n; i += LANES) {
        vf weights = exponential(load(scores + i) - stats[0]);
        total += weights;
        store(scores + i, weights);
    }
    stats[1] += sum(total);
}
