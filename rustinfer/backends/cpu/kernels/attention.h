// What one call of attention works on.
#pragma once
#include <type_traits>

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

// Positions of one sequence and group of heads.
struct Span {
    long s, g, first, last;
};

// Asks memory for positions that are wanted soon, of keys or values: pages lie apart, which hardware does not foresee.
template <class T> INLINE void ask(const Batch<T>& b, const T* cache, const Span& of, long first, long last) {
    for (long at = first, end = last < of.last ? last : of.last; at < end;) {
        long page = at / b.size, offset = at % b.size, count = b.size - offset < end - at ? b.size - offset : end - at;
        const T* from = cache + ((b.pages[of.s * b.ldp + page] * b.kv_heads + of.g) * b.size + offset) * b.dim;
        for (long i = 0; i < count * b.dim; i += 64 / long(sizeof(T))) __builtin_prefetch(from + i);
        at += count;
    }
}

constexpr long RUN = 64;  // positions whose scores exist at a time; memory is asked so far ahead

// While positions first .. last - 1 of a span are read: those a run later, or the first ones of the span that is next.
template <class T> INLINE void ask_ahead(const Batch<T>& b, const T* cache, const Span& now, const Span& next, long first, long last) {
    ask(b, cache, now, first + RUN, last + RUN);
    if (last + RUN <= now.last) return;
    long past = first + RUN > now.last ? first + RUN - now.last : 0;
    ask(b, cache, next, next.first + past, next.first + last + RUN - now.last);
}

// One row's query heads of one group over a span's positions: unnormalised sums [group][padded], and for each head the
// greatest score and the sum of the weights. Its first run has been asked for; `next` is what follows it (may be empty).
template <class T> void attend_row(const Batch<T>& b, const Span& at, const Span& next, long row, float* sums, float* stats);
// The same where they lie, if `in_place`: sixteen positions always lie together, and a head's numbers fill registers.
void attend_in_place(const Batch<bf16>& b, const Span& at, const Span& next, long row, float* sums, float* stats);
#if defined(__AVX512BF16__)
template <class T> constexpr bool PRODUCTS = std::is_same_v<T, bf16>;  // of what the cache holds, without widening
#else
template <class T> constexpr bool PRODUCTS = false;
#endif
template <class T> bool in_place(const Batch<T>& b) { return PRODUCTS<T> && b.size % LANES == 0 && b.dim % STRIP == 0; }
// `tokens` consecutive rows of one sequence, the first at position `at`.
template <class T> void attend_block(const Batch<T>& b, long s, long g, long row, long tokens, long at);
