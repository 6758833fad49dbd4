// What the products of 16-bit integers share.
#pragma once
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

#endif
