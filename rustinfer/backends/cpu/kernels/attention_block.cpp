// Attention of blocks of rows: keys and values pass in runs of 64 positions, and only one run's scores ever exist.
#include "attention.h"
#include "strips.h"
#include "tiles.h"

struct Work {
    float *q, *out, *scores, *gathered, *keys, *values, *stats;
    Work(long rows, long padded) {
        float* at = scratch<float>(ATTEND, rows * (2 * padded + RUN + 2) + 3 * RUN * padded + LANES);
        auto take = [&](long n) { return at += n, at - n; };
        q = take(rows * padded), out = take(rows * padded), scores = take(rows * RUN);
        gathered = take(RUN * padded), keys = take(RUN * padded), values = take(RUN * padded), stats = take(rows * 2);
    }
};

// One row of scores to weights, of which lanes low .. high - 1 are visible; rescales the row's sums.
static void soften(float* scores, float* out, float* stats, long low, long high, long padded) {
    vf top = splat(-INFINITY);
    for (long i = 0; i < RUN; i += LANES) {
        if (i < low || i + LANES > high)
            for (long j = i; j < i + LANES; j++)
                if (j < low || j >= high) scores[j] = -INFINITY;
        top = maximum(top, load(scores + i));
    }
    float now = largest(top), before = stats[0];
    if (now > before) {
        float keep = before == -INFINITY ? 0.0f : std::exp(before - now);
        stats[0] = now, stats[1] *= keep;
        for (long d = 0; d < padded; d += LANES) store(out + d, load(out + d) * keep);
    }
    vf total{};
    for (long i = 0; i < RUN; i += LANES) {
        vf weights = stats[0] == -INFINITY ? vf{} : exponential(load(scores + i) - stats[0]);
        total += weights;
        store(scores + i, weights);
    }
    stats[1] += sum(total);
}

template <class T> void attend_block(const Batch<T>& b, long s, long g, long row, long tokens, long at) {
    long padded = b.padded(), group = b.group(), rows = tokens * group;
    Work w(rows, padded);
    for (long r = 0; r < rows; r++) {
        const T* from = b.query(row + r / group, g * group + r % group);
        for (long d = 0; d < padded; d += LANES) {
            store(w.q + r * padded + d, load(from + d, b.dim - d > 0 ? b.dim - d : 0) * b.scale);
            store(w.out + r * padded + d, vf{});
        }
        w.stats[2 * r] = -INFINITY, w.stats[2 * r + 1] = 0;
    }
    long last = at + tokens;
    for (long first = b.first_visible(at) / RUN * RUN; first < last; first += RUN) {
        long n = last - first < RUN ? last - first : RUN;
        gather(b, b.k, s, g, first, n, w.gathered, padded);
        gather(b, b.v, s, g, first, n, w.values, padded);
        transposed(w.gathered, padded, n, 0, padded, w.keys, RUN);
        for (long half = 0; half < RUN; half += STRIP)
            float_product(rows, w.q, padded, w.keys + half, RUN, w.scores + half, RUN, padded, false);
        for (long r = 0; r < rows; r++) {
            long position = at + r / group, low = b.first_visible(position) - first, high = position + 1 - first;
            soften(w.scores + r * RUN, w.out + r * padded, w.stats + 2 * r, low, high < n ? high : n, padded);
        }
        for (long d = 0; d < padded; d += STRIP)
            float_product(rows, w.scores, RUN, w.values + d, padded, w.out + d, padded, n, true);
    }
    for (long r = 0; r < rows; r++) {
        T* to = b.result(row + r / group, g * group + r % group);
        float inverse = 1.0f / w.stats[2 * r + 1];
        for (long d = 0; d < b.dim; d += LANES) store(to + d, load(w.out + r * padded + d) * inverse, b.dim - d);
    }
}
template void attend_block(const Batch<f32>&, long, long, long, long, long);
template void attend_block(const Batch<bf16>&, long, long, long, long, long);
