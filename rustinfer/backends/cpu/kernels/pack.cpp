// Repacks torch's layout of a packed weight into strips (see matrix.h).
#include "matrix.h"
#include "pool.h"
#if defined(__linux__)
#include <sys/mman.h>
#endif

struct Source {
    const uint8_t *data, *scales, *zeros;
    long group;
};

static int integer_at(const Matrix& w, const Source& s, long row, long column) {
    if (row >= w.rows) return 0;
    if (w.kind == INT8) return int8_t(s.data[row * w.columns + column]);
    long group = column / s.group, j = column % s.group, half = s.group / 2;
    uint8_t byte = s.data[row * (w.columns / 2) + group * half + (j < half ? j : j - half)];
    return j < half ? byte & 15 : byte >> 4;
}

static void put_scales(const Matrix& w, const uint8_t* from, long group, long strip, long b, uint8_t* out) {
    long size = w.wide ? 4 : 2, groups = w.columns / group;
    for (long o = 0; o < STRIP; o++) {
        long row = strip * STRIP + o;
        if (row < w.rows) memcpy(out + o * size, from + (row * groups + b * BLOCK / group) * size, size_t(size));
        else memset(out + o * size, 0, size_t(size));
    }
}

static void put_block(const Matrix& w, const Source& s, long strip, long b, uint8_t* out) {
    for (long o = 0; o < STRIP; o++) {
        long row = strip * STRIP + o, column = b * BLOCK;
        if (w.kind == INT4)
            for (long set = 0; set < 4; set++) {
                uint32_t word = 0;
                for (long k = 0; k < 8; k++)
                    word |= uint32_t(integer_at(w, s, row, column + set * 8 + k)) << (k % 2 * 16 + k / 2 * 4);
                memcpy(out + (set * STRIP + o) * 4, &word, 4);
            }
        else
            for (long k = 0; k < BLOCK; k++) out[k / 2 * 2 * STRIP + o * 2 + k % 2] = uint8_t(integer_at(w, s, row, column + k));
    }
    put_scales(w, s.scales, s.group, strip, b, out + w.integers());
    if (w.zeros) put_scales(w, s.zeros, s.group, strip, b, out + w.integers() + STRIP * (w.wide ? 4 : 2));
}

// Asks for large pages under memory that has not been touched yet: weights stream past once a token, and an address
// look-up for every 4 KiB of them costs a quarter of the time.
extern "C" void ri_large_pages(uint8_t* at, long bytes) {
#if defined(__linux__)
    uintptr_t first = (uintptr_t(at) + 4095) & ~uintptr_t(4095), last = uintptr_t(at) + uintptr_t(bytes);
    if (last > first) madvise((void*)first, last - first, MADV_HUGEPAGE);
#else
    (void)at, (void)bytes;
#endif
}

extern "C" long ri_packed_bytes(const Matrix* w) { return w->strips() * w->blocks() * w->block_bytes(); }

extern "C" void ri_pack(const Matrix* w, const uint8_t* data, const uint8_t* scales, const uint8_t* zeros, long group) {
    Source s{data, scales, zeros, group};
    parallel(w->strips(), 4, [&](long strip) {
        for (long b = 0; b < w->blocks(); b++) put_block(*w, s, strip, b, const_cast<uint8_t*>(w->block(strip, b)));
    });
}
