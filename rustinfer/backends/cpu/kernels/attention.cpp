// Cuts a batch's attention into tasks: blocks of rows for prompts; for single rows, runs of positions.
#include "attention.h"

#include <vector>

struct Task {
    Span span;         // positions of single rows
    long row, tokens;  // tokens > 0: a block of rows
    long at;           // the position of the (first) row
    long part;         // which partial result; the parts of a row and group are consecutive
    bool whole;        // there is no other part
    bool single() const { return tokens == 0; }
};

constexpr long BLOCK_ROWS = 96;  // query heads times tokens in a block
constexpr long ALONE = 512;      // positions in a part of a row that is cut regardless of the others
constexpr long SINGLE = 2;       // as few rows as this are cheaper one by one

template <class T> struct Cutter {
    const Batch<T>& b;
    std::vector<Task>& tasks;
    long sequences, parts = 0;

    void single(long s, long row, long at) {
        long first = b.first_visible(at), count = at + 1 - first, groups = sequences * b.kv_heads;
        // Enough parts for every thread, none shorter than 128 positions.
        long wanted = groups >= 4 * pool_threads() ? 1 : (4 * pool_threads() + groups - 1) / groups;
        long most = count / 128 > 1 ? count / 128 : 1, cuts = wanted < most ? wanted : most;
        long length = b.alone ? ALONE : (count + cuts - 1) / cuts;
        for (long g = 0; g < b.kv_heads; g++)
            for (long from = first; from <= at; from += length)
                tasks.push_back({{s, g, from, from + length < at + 1 ? from + length : at + 1}, row, 0, at, parts++, length > at - first});
    }
    void sequence(long s) {
        long row = b.starts[s], rows = b.starts[s + 1] - row, at = b.lengths[s] - rows;
        if (b.lengths[s] <= 0) return (void)memset(b.out + row * b.heads * b.dim, 0, size_t(rows * b.heads * b.dim) * sizeof(T));
        if (rows <= SINGLE) {
            for (long r = 0; r < rows; r++) single(s, row + r, at + r);
            return;
        }
        long tokens = BLOCK_ROWS / b.group() > 1 ? BLOCK_ROWS / b.group() : 1;
        for (long r = (rows - 1) / tokens * tokens; r >= 0; r -= tokens)  // the longest first
            for (long g = 0; g < b.kv_heads; g++)
                tasks.push_back({{s, g, 0, 0}, row + r, rows - r < tokens ? rows - r : tokens, at + r, -1, true});
    }
};

// Adds up the parts of one row and group, weighted anew in `sums`, and writes the row's result.
template <class T> static void merge(const Batch<T>& b, const Task& t, long parts, float* sums, const float* stats) {
    long padded = b.padded(), group = b.group();
    for (long h = 0; h < group; h++, sums += padded, stats += 2) {
        long step = group * padded;
        float top = -INFINITY, weight = 0;
        for (long p = 0; p < parts; p++) top = std::fmax(top, stats[p * group * 2]);
        for (long p = 0; p < parts; p++) {
            float share = parts > 1 ? std::exp(stats[p * group * 2] - top) : 1.0f;
            weight += share * stats[p * group * 2 + 1];
            for (long d = 0; d < padded; d += LANES) store(sums + d, (p ? load(sums + d) : vf{}) + share * load(sums + p * step + d));
        }
        T* out = b.result(t.row, t.span.g * group + h);
        float inverse = 1.0f / weight;
        for (long d = 0; d < b.dim; d += LANES) store(out + d, load(sums + d) * inverse, b.dim - d);
    }
}

template <class T> static void attention(const Batch<T>& b, long rows, long sequences) {
    static thread_local std::vector<Task> tasks;
    tasks.clear();
    Cutter<T> cut{b, tasks, sequences};
    for (long s = 0; s < sequences; s++) cut.sequence(s);
    long done = sequences ? b.starts[sequences] : 0, each = b.heads * b.dim;
    if (done < rows) memset(b.out + done * each, 0, size_t((rows - done) * each) * sizeof(T));
    long padded = b.padded(), group = b.group(), work = 0;
    float *sums = scratch<float>(PROJECTED, cut.parts * group * padded), *stats = scratch<float>(ROW_SCALES, cut.parts * group * 2);
    for (const Task& t : tasks) work += (t.single() ? t.span.last - t.span.first : t.tokens * (t.at + t.tokens)) * group * padded;
    const std::vector<Task>& all = tasks;
    long count = long(all.size()), some = cut.parts / (8 * pool_threads()) + 1;
    auto one = [&](long i, const Span& next) {
        const Task& t = all[size_t(i)];
        if (!t.single()) return attend_block(b, t.span.s, t.span.g, t.row, t.tokens, t.at);
        float *own = sums + t.part * group * padded, *told = stats + t.part * group * 2;
        attend_row(b, t.span, next, t.row, own, told);
        if (t.whole) merge(b, t, 1, own, told);
    };
    // Neighbours in one hand: while one is read, memory is asked for the next.
    parallel((count + some - 1) / some, work < 32768 ? count : 1, [&](long hand) {
        long from = hand * some, to = from + some < count ? from + some : count;
        const Span& start = all[size_t(from)].span;
        for (const T* cache : {b.k, b.v}) ask(b, cache, start, start.first, start.first + RUN);
        for (long i = from; i < to; i++) one(i, i + 1 < count ? all[size_t(i + 1)].span : Span{});
    });
    for (size_t i = 0, next; i < all.size(); i = next) {
        for (next = i + 1; next < all.size() && !all[i].whole && all[next].row == all[i].row && all[next].span.g == all[i].span.g;) next++;
        if (!all[i].whole) merge(b, all[i], long(next - i), sums + all[i].part * group * padded, stats + all[i].part * group * 2);
    }
}

struct Shape {  // what a binding freezes
    long dtype, window, alone;
    double scale;
};

template <class T> static void typed(const Shape& f, const void* q, long ldq, long ldh, const void* k, const void* v, const int32_t* starts, const int32_t* lengths, const int32_t* pages, long ldp, long rows, long sequences, long heads, long kv_heads, long dim, long size, void* out) {
    attention(Batch<T>{(const T*)q, ldq, ldh, (const T*)k, (const T*)v, starts, lengths, pages, ldp, heads, kv_heads, dim, size, f.window, f.alone != 0, float(f.scale), (T*)out}, rows, sequences);
}

extern "C" void ri_attention(const Shape* f, const void* q, long ldq, long ldh, const void* k, const void* v, const int32_t* starts, const int32_t* lengths, const int32_t* pages, long ldp, long rows, long sequences, long heads, long kv_heads, long dim, long size, void* out) {
    (f->dtype == FLOAT32 ? typed<f32> : typed<bf16>)(*f, q, ldq, ldh, k, v, starts, lengths, pages, ldp, rows, sequences, heads, kv_heads, dim, size, out);
}
