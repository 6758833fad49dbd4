// Choosing tokens: one pass over the row's noisy logits, without a sort unless nucleus or top-k ask for one.
#include <algorithm>
#include <cfloat>

#include "random.h"

// The index of the greatest number, the lowest among equals. NaN counts as infinity: who looks there sees that it is none.
static long greatest(const float* x, long n) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vf best = splat(-INFINITY);
    vi where = lane;
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = load(x + i);
        v = select(v == v, v, splat(INFINITY));
        vi more = v > best;
        best = select(more, v, best);
        where = (more & (lane + int32_t(i))) | (~more & where);
    }
    float top = -INFINITY;
    long at = 0;
    for (long j = 0; j < LANES; j++)
        if (best[j] > top || (best[j] == top && where[j] < at)) top = best[j], at = where[j];
    for (; i < n; i++)
        if (float v = x[i] == x[i] ? x[i] : INFINITY; v > top) top = v, at = i;
    return at;
}

extern "C" void ri_argmax(const float* logits, long stride, long rows, long vocab, int64_t* out) {
    parallel(rows, rows * vocab < 100000 ? rows : 1, [&](long r) { out[r] = greatest(logits + r * stride, vocab); });
}

struct Row {
    const float* logits;
    long vocab;
    float temperature;
    int64_t top_k;
    float top_p, min_p;
    uint64_t seed, position;
    float scaled(long i) const { return logits[i] / temperature; }
};

// The least of the numbers that hold a share of top_p; the numbers (in any order) are those that top-k left. Sorts only
// as many of the likeliest as it takes.
static float nucleus(float* x, long n, float top, float top_p) {
    double total = 0;
    for (long i = 0; i < n; i++) total += std::exp(double(x[i]) - top);
    double before = 0;
    float* from = x;
    for (float depth = 4; from < x + n; depth *= 2) {
        float* to = depth > 64 ? x + n : std::partition(from, x + n, [&](float v) { return v >= top - depth; });
        std::sort(from, to, [](float a, float b) { return a > b; });
        for (; from < to; from++) {
            double share = std::exp(double(*from) - top) / total;
            if (share <= 0 || before >= double(top_p)) return from == x ? x[0] : from[-1];
            before += share;
        }
    }
    return n ? x[n - 1] : -INFINITY;
}

// The least logit over temperature that the row keeps.
static float cutoff(const Row& row, float top) {
    float least = row.min_p > 0 ? top + std::log(row.min_p) : -INFINITY;
    bool few = row.top_k > 0 && row.top_k < row.vocab;
    if (!few && !(row.top_p < 1)) return least;
    float* x = scratch<float>(SAMPLE, row.vocab * 2) + row.vocab;
    long n = 0;
    for (long i = 0; i < row.vocab; i++)
        if (row.logits[i] > -INFINITY) x[n++] = row.scaled(i);
    if (few && row.top_k < n) {
        std::nth_element(x, x + row.top_k - 1, x + n, [](float a, float b) { return a > b; });
        float last = x[row.top_k - 1];
        n = std::partition(x, x + n, [&](float v) { return v >= last; }) - x;
        least = std::max(least, last);
    }
    return row.top_p < 1 ? std::max(least, nucleus(x, n, top, row.top_p)) : least;
}

constexpr long CHUNK = 64;  // tokens of sixteen counters
constexpr float MOST = 17.4f;  // no noise is greater: -log(-log(1 - 2^-25)) = 17.33

// Noisy logits of one chunk, to a few units in the last place; -infinity for those that cannot reach `best`.
static float noisy(const Row& row, long first, float least, float best_yet, float* out) {
    uint32_t words[CHUNK];
    philox(row.seed, row.position, uint32_t(first / 4), words);
    vf best = splat(-INFINITY);
    for (long i = 0; i < CHUNK; i += LANES) {
        long n = row.vocab - first - i;
        if (n <= 0) {
            store(out + i, splat(-INFINITY));
            continue;
        }
        vu w;
        memcpy(&w, words + i, sizeof w);
        vf scaled = load(row.logits + first + i, n) / row.temperature;
        vf score = splat(-INFINITY);
        if (largest(scaled + gumbel_bound(w)) >= best_yet) score = select(scaled < least, score, scaled + gumbel(w));
        if (n < LANES)
            for (long j = n; j < LANES; j++) score[j] = -INFINITY;
        store(out + i, score);
        best = maximum(best, score);
    }
    return largest(best);
}

// How far apart two noisy logits must be for their order to be beyond doubt.
static float margin_of(float best) { return best > -INFINITY ? 1e-3f + 1e-5f * std::fabs(best) : 0.0f; }

static long drawn(const Row& row) {
    long first = greatest(row.logits, row.vocab), chunks = (row.vocab + CHUNK - 1) / CHUNK;
    if (!(row.temperature > 0) || !std::isfinite(row.logits[first])) return first;
    float top = row.scaled(first), least = cutoff(row, top);
    float* scores = scratch<float>(SAMPLE, (row.vocab + CHUNK) * 2);
    float best = noisy(row, first / CHUNK * CHUNK, least, -INFINITY, scores + first / CHUNK * CHUNK);
    for (long c = 0; c < chunks; c++) {
        long at = c * CHUNK, end = std::min(at + CHUNK, row.vocab);
        if (c == first / CHUNK) continue;
        float most = row.logits[at + greatest(row.logits + at, end - at)] / row.temperature;
        if (most < least || most + MOST < best) scores[at] = NAN;  // nothing here can win
        else best = std::max(best, noisy(row, at, least, best - 2 * margin_of(best), scores + at));
    }
    // Near the best, once more in double.
    float margin = margin_of(best), winner = -INFINITY;
    long token = first;
    for (long c = 0; c < chunks; c++) {
        if (scores[c * CHUNK] != scores[c * CHUNK]) continue;
        for (long i = c * CHUNK; i < std::min((c + 1) * CHUNK, row.vocab); i++)
            if (scores[i] >= best - margin) {
                float score = row.scaled(i) + float(exact_gumbel(row.seed, row.position, i));
                if (score > winner) winner = score, token = i;
            }
    }
    return token;
}

extern "C" void ri_sample(const float* logits, long stride, long rows, long vocab, const float* temperature, const int64_t* top_k, const float* top_p, const float* min_p, const int64_t* seeds, const int64_t* positions, int64_t* out) {
    parallel(rows, 1, [&](long r) {
        out[r] = drawn({logits + r * stride, vocab, temperature[r], top_k[r], top_p[r], min_p[r], uint64_t(seeds[r]), uint64_t(positions[r])});
    });
}
