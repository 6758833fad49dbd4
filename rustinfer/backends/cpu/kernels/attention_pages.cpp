// Attention of single rows in bfloat16 where keys and values lie, in pages: what is read is neither copied nor widened first.
#include "attention.h"
#include "scores.h"

#if defined(__AVX512BF16__)

constexpr long PASS = 512;  // positions whose scores exist at a time
constexpr long AHEAD = 4;   // blocks of sixteen positions that memory is asked for ahead

// What is read in turn: the keys of a pass, a block of sixteen positions after the other, their values, and then other keys.
struct Reading {
    const bf16 *k, *v;
    long dim, blocks = 0, known = 0;
    long place[PASS / LANES + AHEAD];

    // Blocks of a span from a position on, as many as there is room for below `room`.
    void add(const Batch<bf16>& b, const Span& of, long at, long room) {
        while (at < of.last && known < room) {
            long page = b.pages[of.s * b.ldp + at / b.size], offset = at % b.size;
            for (; offset < b.size && at < of.last && known < room; offset += LANES, at += LANES)
                place[known++] = ((page * b.kv_heads + of.g) * b.size + offset) * dim;
        }
    }
    void fill(const Batch<bf16>& b, const Span& now, const Span& next, long at) {
        known = 0;
        add(b, now, at, PASS / LANES);
        blocks = known;
        add(b, now, at + PASS, blocks + AHEAD);
        add(b, next, next.first / LANES * LANES, blocks + AHEAD);
        while (known < blocks + AHEAD) place[known++] = place[blocks - 1];
    }
    // Before a block is read whose turn it is, memory is asked for a whole later one: line by line in between takes longer.
    INLINE void ask(long turn) const {
        long then = turn + AHEAD;
        const bf16* from = then < blocks ? k + place[then] : (then < 2 * blocks ? v : k) + place[then - blocks];
        for (long i = 0; i < LANES * dim; i += 32) __builtin_prefetch(from + i);
    }
};

// The products of one head with sixteen keys of D numbers each (of dim, where D is 0). Products of bf16 are exact, their sums float.
template <long D> static INLINE vf dots(const bf16* q, const bf16* keys, long dim) {
    if (D) dim = D;
    vf v[16] = {};
    UNROLL for (long d = 0; d < dim; d += 2 * LANES) {
        __m512bh x = (__m512bh)_mm512_loadu_si512(q + d);
        UNROLL for (long i = 0; i < 16; i++) v[i] = (vf)_mm512_dpbf16_ps((__m512)v[i], x, (__m512bh)_mm512_loadu_si512(keys + i * dim + d));
    }
    return sums_of(v);
}

template <long D> static void score(const Batch<bf16>& b, const Reading& in, const bf16* q, float* scores) {
    long group = b.group();
    for (long j = 0; j < in.blocks; j++, scores += LANES) {
        in.ask(j);
        for (long h = 0; h < group; h++) store(scores + h * PASS, dots<D>(q + h * b.ldh, in.k + in.place[j], b.dim) * b.scale);
    }
}

// sums[heads H][dim] += weights[H][PASS] times the values of n positions: each is read once for all H heads, V registers of
// 32 numbers at a time, those in even places apart from those in odd ones.
template <long H, long V> static void blend(const Reading& in, const float* weights, long n, bool asks, float* sums) {
    for (long d = 0; d < in.dim; d += V * 2 * LANES) {
        vf even[H][V] = {}, odd[H][V] = {};
        for (long j = 0; j < in.blocks; j++) {
            if (asks && d == 0) in.ask(in.blocks + j);
            const bf16* from = in.v + in.place[j] + d;
            const float* w = weights + j * LANES;
            // What lies past the end need not be a number.
            for (long i = 0, count = n - j * LANES < LANES ? n - j * LANES : LANES; i < count; i++, from += in.dim, w++) {
                vf low[V], high[V];
                UNROLL for (long v = 0; v < V; v++) {
                    vu both;
                    memcpy(&both, from + v * 2 * LANES, sizeof both);
                    low[v] = (vf)(both << 16), high[v] = (vf)(both & 0xffff0000u);
                }
                UNROLL for (long h = 0; h < H; h++) {
                    vf x = splat(w[h * PASS]);
                    UNROLL for (long v = 0; v < V; v++) even[h][v] += x * low[v], odd[h][v] += x * high[v];
                }
            }
        }
        UNROLL for (long h = 0; h < H; h++)
            UNROLL for (long v = 0; v < V; v++) {
                float* to = sums + h * in.dim + d + v * 2 * LANES;
                vf a = even[h][v], b = odd[h][v];
                store(to, load(to) + __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
                store(to + LANES, load(to + LANES) + __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
            }
    }
}

template <long V> static void blend_heads(const Reading& in, long group, const float* weights, long n, float* sums) {
    for (long h = 0; h < group; h += 4) {
        auto run = [&](auto* kernel) { kernel(in, weights + h * PASS, n, h == 0, sums + h * in.dim); };
        if (group - h >= 4) run(blend<4, V>);
        else if (group - h == 3) run(blend<3, V>);
        else if (group - h == 2) run(blend<2, V>);
        else run(blend<1, V>);
    }
}

void attend_in_place(const Batch<bf16>& b, const Span& span, const Span& next, long row, float* sums, float* stats) {
    long dim = b.dim, group = b.group(), first = span.first, last = span.last;
    const bf16* q = b.query(row, span.g * group);
    float* scores = scratch<float>(ATTEND, group * PASS);
    Reading in{b.k, b.v, dim};
    memset(sums, 0, size_t(group * dim) * sizeof(float));
    for (long h = 0; h < group; h++) stats[2 * h] = -INFINITY, stats[2 * h + 1] = 0;
    for (long at = first / LANES * LANES; at < last; at += PASS) {
        long n = last - at < PASS ? last - at : PASS;
        in.fill(b, span, next, at);
        (dim == 64 ? score<64> : dim == 128 ? score<128> : score<0>)(b, in, q, scores);
        for (long h = 0; h < group; h++) {
            for (long i = 0; i < first - at; i++) scores[h * PASS + i] = -INFINITY;
            soften(scores + h * PASS, n, sums + h * dim, stats + 2 * h, dim);
        }
        (dim % 64 ? blend_heads<1> : blend_heads<2>)(in, group, scores, n, sums);
    }
}

#endif
