// What the products of integers share.
#pragma once
#include "half.h"
#include "tiles.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// Pair p of a block as 16-bit numbers, for outputs 16 * half .. + 15.
template <long KIND> static INLINE __m512i pair_integers(const uint8_t* block, long p, int half) {
    if constexpr (KIND == INT4) {
        __m512i word = _mm512_loadu_si512(block + (p / 4 * STRIP + 16 * half) * 4);
        return _mm512_and_si512(_mm512_srli_epi32(word, unsigned(4 * (p % 4))), _mm512_set1_epi32(0x000f000f));
    }
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)(block + p * 2 * STRIP + 32 * half)));
}

// Adds a block's sums of integers, times the weights' and the row's scale, and what its zeros make of the row's sum.
template <long R> static INLINE void add_block(vf (&acc)[R][2], const __m512i (&dot)[R][2], const Matrix& w, const uint8_t* block, const float* told) {
    const uint8_t* scales = block + w.integers();
    UNROLL for (int h = 0; h < 2; h++) {
        vf s = load_scale(scales, w.wide, h);
        UNROLL for (long i = 0; i < R; i++) acc[i][h] += (vf)_mm512_cvtepi32_ps(dot[i][h]) * s * told[i * TOLD];
        if (w.zeros) {
            vf z = load_scale(scales + STRIP * (w.wide ? 4 : 2), w.wide, h);
            UNROLL for (long i = 0; i < R; i++) acc[i][h] += z * told[i * TOLD + 1];
        }
    }
}

#endif
