// A weight matrix as the kernels read it, and the rows that multiply it.
#pragma once
#include "vec.h"

constexpr long BLOCK = 32;  // columns that share a scale, in weights and in 16-bit activations
constexpr long STRIP = 32;  // outputs computed together
enum Kind : long { DENSE_F32 = 0, DENSE_BF16 = 1, INT4 = 4, INT8 = 8 };

// Dense: `data` is row-major with `stride` elements a row, as torch holds it.
// Packed: strips of 32 outputs; a strip is a run of blocks of 32 columns; a block is its integers, 32 scales, and 32
// zeros if there are any. int8: for each pair of columns (k, k + 1), the 32 outputs' pairs. int4: for each 8 columns
// 32 little-endian 32-bit words, one an output: nibbles k, k + 2, k + 4, k + 6, k + 1, k + 3, k + 5, k + 7, so that
// (word >> 4 i) & 0x000f000f is the pair of 16-bit numbers (k + 2 i, k + 2 i + 1).
struct Matrix {
    long kind, rows, columns, stride, zeros, wide;  // wide: scales and zeros are float32, not float16
    const uint8_t* data;

    long blocks() const { return columns / BLOCK; }
    long strips() const { return (rows + STRIP - 1) / STRIP; }
    bool packed() const { return kind == INT4 || kind == INT8; }
    long integers() const { return kind == INT4 ? BLOCK * STRIP / 2 : BLOCK * STRIP; }
    long block_bytes() const { return integers() + STRIP * (wide ? 4 : 2) * (zeros ? 2 : 1); }
    const uint8_t* block(long strip, long b) const { return data + (strip * blocks() + b) * block_bytes(); }
};

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
constexpr bool HAS_INTEGER = true;
#else
constexpr bool HAS_INTEGER = false;
#endif

// AMD's cores add vectors on twice as many units as they multiply on; others' do not (see winograd.cpp).
#if defined(__znver3__) || defined(__znver4__) || defined(__znver5__)
constexpr bool ADDS_ARE_CHEAP = HAS_INTEGER;
#else
constexpr bool ADDS_ARE_CHEAP = false;
#endif

constexpr long TILE = 8;  // rows multiplied together: 16 integer accumulators; the float ones may lie in memory

// Rows ready to be multiplied: float32, row by row; 8-bit integers with a scale a block, where a plan says so; or 16-bit integers with one scale a block (relative error 2^-16 of the
// block's largest number, far below bfloat16's own 2^-9): tiles of `group` rows, in them blocks, in them rows, as a product reads
// them. What is told of a block: its scale, the sum of its numbers and, as integers' bits, what Winograd's products
// have too much of, and the upper parts of a quad of 8-bit integers that has 12 (see quads.cpp).
constexpr long TOLD = 4;
constexpr long QUICK_LEAST = 32;  // rows for which it pays to expand a strip for Winograd's products
struct Rows {
    long count, columns, group;
    float* f;
    int16_t* q;
    int8_t* e;
    bool nibbles;  // of the weights: the 8-bit integers lie as those are read
    float* told;
    uint8_t* fines;  // of each block of 8-bit integers: 1 + its quad of 12 bits, or 0; eight rows' are eight bytes
    bool integer() const { return q || e; }
    long place(long r, long b) const { return (r / group * (columns / BLOCK) + b) * group + r % group; }
    int16_t* integers(long r, long b) const { return q + place(r, b) * BLOCK; }
    int8_t* bytes(long r, long b) const { return e + place(r, b) * BLOCK; }
    float* about(long r, long b) const { return told + place(r, b) * TOLD; }
    uint8_t& fine(long r, long b) const { return fines[(r / group * (columns / BLOCK) + b) * TILE + r % group]; }
};

// Buffers for `count` rows of the calling thread, in the form that suits the matrix and the activations' dtype.
Rows rows_for(const Matrix& w, long count, Dtype dtype, bool eight);
// Converts one row: from row r's own slot in `f` when source is null.
void finish_row(const Rows& rows, long r, const float* source);

// C[count][32] = the rows r0 .. r0 + count times the strip's 32 outputs (those past the matrix's last are zero).
void multiply_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c);

constexpr long ROW_BLOCK = 256;  // rows whose activations stay in the second-level cache
constexpr long ROWS_LEAST = 48;  // rows that are worth a pass over the weights of their own
