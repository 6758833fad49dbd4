// What one call of attention works on.
#pragma once
#include "plan.h"

template <class T> struct Batch {
    const T* q;
    long ldq, ldh;  // elements between rows, and between heads
    const T *k, *v;
    const int32_t *starts, *lengths, *pages;
    long ldp;  // entries between sequences' page lists
    long heads, kv_heads, dim, size, window;
    bool alone;  // a row is cut by its own length only, so that its bits do not depend on the others
    float scale;
    T* out;

    long group() const { return heads / kv_heads; }
    long padded() const { return (dim + STRIP - 1) / STRIP * STRIP; }
    long first_visible(long at) const { return window > 0 && at + 1 > window ? at + 1 - window : 0; }
    const T* query(long row, long head) const { return q + row * ldq + head * ldh; }
    T* result(long row, long head) const { return out + (row * heads + head) * dim; }
};

// `count` positions' numbers as float rows of `padded` (zeros past dim). Page by page: a division costs as much as a row.
template <class T> INLINE void gather(const Batch<T>& b, const T* cache, long s, long g, long first, long count, float* out, long padded) {
    long page = first / b.size, offset = first % b.size;
    for (long i = 0; i < count; page++, offset = 0) {
        const T* from = cache + ((b.pages[s * b.ldp + page] * b.kv_heads + g) * b.size + offset) * b.dim;
        for (long end = count - i < b.size - offset ? count : i + b.size - offset; i < end; i++, from += b.dim, out += padded) {
            long d = 0;
            for (; d + LANES <= b.dim; d += LANES) store(out + d, load(from + d));
            for (; d < padded; d += LANES) store(out + d, load(from + d, b.dim - d > 0 ? b.dim - d : 0));
        }
    }
}

// Asks memory for `count` positions that are wanted soon: pages lie apart, which no prefetching by hardware follows.
template <class T> INLINE void ask_ahead(const Batch<T>& b, long s, long g, long first, long count) {
    for (long page = first / b.size; count > 0 && page * b.size < first + count; page++) {
        long at = (b.pages[s * b.ldp + page] * b.kv_heads + g) * b.size * b.dim;
        for (long i = 0; i < b.size * b.dim; i += 64 / long(sizeof(T))) {
            __builtin_prefetch(b.k + at + i, 0, 2);
            __builtin_prefetch(b.v + at + i, 0, 2);
        }
    }
}

// One row's query heads of one group over positions first .. last - 1: unnormalised sums [group][padded], and for each
// head the greatest score and the sum of the weights.
template <class T> void attend_row(const Batch<T>& b, long s, long g, long row, long first, long last, float* sums, float* stats);
// `tokens` consecutive rows of one sequence, the first at position `at`.
template <class T> void attend_block(const Batch<T>& b, long s, long g, long row, long tokens, long at);
