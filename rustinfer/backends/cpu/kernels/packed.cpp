// Products with packed weights: integers are expanded in registers for a few rows, in the first-level cache for many.
#include "half.h"
#include "pool.h"
#include "strips.h"
#include "tiles.h"

static INLINE vf signed_byte(vu pair, int odd) { return __builtin_convertvector((vi)(pair << (odd ? 16 : 24)) >> 24, vf); }

// The two columns of pair p (0 .. 15) of a block, for outputs 16 * half .. + 15.
template <long KIND> static INLINE void pair_floats(const uint8_t* block, long p, int half, vf& even, vf& odd) {
    if constexpr (KIND == INT4) {
        vu word;
        memcpy(&word, block + (p / 4 * STRIP + 16 * half) * 4, sizeof word);
        even = __builtin_convertvector((vi)(word >> (4 * (p % 4)) & 15u), vf);
        odd = __builtin_convertvector((vi)(word >> (16 + 4 * (p % 4)) & 15u), vf);
    } else {
        vh both;
        memcpy(&both, block + p * 2 * STRIP + 32 * half, sizeof both);
        vu pair = __builtin_convertvector(both, vu);
        even = signed_byte(pair, 0);
        odd = signed_byte(pair, 1);
    }
}

template <long KIND, long R> static void float_direct(const Matrix& w, const float* x, long ldx, const float* told, long ldt, long strip, float* c) {
    vf acc[R][2] = {};
    long bytes = w.block_bytes();
    const uint8_t* block = w.block(strip, 0);
    for (long b = 0; b < w.blocks(); b++, block += bytes) {
        ask_ahead(block, bytes);
        vf dot[R][2] = {};
        UNROLL for (long p = 0; p < BLOCK / 2; p++)
            UNROLL for (int h = 0; h < 2; h++) {
                vf even, odd;
                pair_floats<KIND>(block, p, h, even, odd);
                UNROLL for (long i = 0; i < R; i++) {
                    dot[i][h] += even * x[i * ldx + b * BLOCK + 2 * p];
                    dot[i][h] += odd * x[i * ldx + b * BLOCK + 2 * p + 1];
                }
            }
        const uint8_t* scales = block + w.integers();
        UNROLL for (int h = 0; h < 2; h++) {
            vf s = load_scale(scales, w.wide, h);
            UNROLL for (long i = 0; i < R; i++) acc[i][h] += dot[i][h] * s;
            if (w.zeros) {
                vf z = load_scale(scales + STRIP * (w.wide ? 4 : 2), w.wide, h);
                UNROLL for (long i = 0; i < R; i++) acc[i][h] += z * told[b * ldt + i * TOLD + 1];
            }
        }
    }
    UNROLL for (long i = 0; i < R; i++)
        UNROLL for (long h = 0; h < 2; h++) store(c + i * STRIP + h * LANES, acc[i][h]);
}

template <long KIND> static void expand_float(const Matrix& w, long strip, long first, long blocks, float* out) {
    for (long b = first; b < first + blocks; b++, out += BLOCK * STRIP) {
        const uint8_t *block = w.block(strip, b), *scales = block + w.integers();
        UNROLL for (int h = 0; h < 2; h++) {
            vf s = load_scale(scales, w.wide, h), z = w.zeros ? load_scale(scales + STRIP * (w.wide ? 4 : 2), w.wide, h) : vf{};
            for (long p = 0; p < BLOCK / 2; p++) {
                vf even, odd;
                pair_floats<KIND>(block, p, h, even, odd);
                store(out + 2 * p * STRIP + h * LANES, even * s + z);
                store(out + (2 * p + 1) * STRIP + h * LANES, odd * s + z);
            }
        }
    }
}

template <long KIND> static void float_kind(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    const float *a = x.f + r0 * x.columns, *told = x.about(r0, 0);
    long ldt = x.group * TOLD;
    switch (count) {
        case 1: return float_direct<KIND, 1>(w, a, x.columns, told, ldt, strip, c);
        case 2: return float_direct<KIND, 2>(w, a, x.columns, told, ldt, strip, c);
        case 3: return float_direct<KIND, 3>(w, a, x.columns, told, ldt, strip, c);
    }
    float* panel = scratch<float>(WEIGHTS, DEPTH * STRIP);
    for (long b = 0; b < w.blocks(); b += DEPTH / BLOCK) {
        long blocks = w.blocks() - b < DEPTH / BLOCK ? w.blocks() - b : DEPTH / BLOCK;
        expand_float<KIND>(w, strip, b, blocks, panel);
        float_product(count, a + b * BLOCK, x.columns, panel, STRIP, c, STRIP, blocks * BLOCK, b > 0);
    }
}

void float_strip(const Matrix& w, const Rows& x, long r0, long count, long strip, float* c) {
    (w.kind == INT4 ? float_kind<INT4> : float_kind<INT8>)(w, x, r0, count, strip, c);
}
