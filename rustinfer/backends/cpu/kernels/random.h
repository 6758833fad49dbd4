// Philox4x32-10 and the Gumbel noise made of it (rustinfer/ops/philox.py defines both).
#pragma once
#include "plan.h"

// 64 words: the four of counter `first`, then those of the next fifteen counters.
static inline void philox(uint64_t key, uint64_t position, uint32_t first, uint32_t* words) {
    uint32_t c0[16], c1[16], c2[16], c3[16], k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (uint32_t j = 0; j < 16; j++) c0[j] = first + j, c1[j] = 0, c2[j] = uint32_t(position), c3[j] = uint32_t(position >> 32);
    for (int round = 0; round < 10; round++) {
        for (int j = 0; j < 16; j++) {
            uint64_t a = uint64_t(c0[j]) * 0xD2511F53u, b = uint64_t(c2[j]) * 0xCD9E8D57u;
            uint32_t old1 = c1[j], old3 = c3[j];
            c0[j] = uint32_t(b >> 32) ^ old1 ^ k0, c1[j] = uint32_t(b);
            c2[j] = uint32_t(a >> 32) ^ old3 ^ k1, c3[j] = uint32_t(a);
        }
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    for (int j = 0; j < 16; j++) words[4 * j] = c0[j], words[4 * j + 1] = c1[j], words[4 * j + 2] = c2[j], words[4 * j + 3] = c3[j];
}

// Natural logarithm of positive normal numbers.
static INLINE vf logarithm(vf x) {
    vu bits = (vu)x;
    vi exponent = (vi)(bits >> 23) - 126;
    vf m = (vf)((bits & 0x007fffffu) | 0x3f000000u);  // 0.5 .. 1
    vi small = m < splat(0.707106781f);
    vf e = __builtin_convertvector(exponent + small, vf);  // a true lane is -1
    m = select(small, m + m, m) - 1.0f;
    vf p = splat(7.0376836292e-2f);
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    vf z = m * m;
    return e * 0.693359375f + (m - 0.5f * z + (p * m * z - e * 2.12194440e-4f));
}

// Noise of sixteen words. Near 1, u has more digits than a float: 1 - u is exact, and so -log u = log1p's series.
static INLINE vf gumbel(vu word) {
    vi low = (vi)word >= 0;
    vu digits = ((vu)low & (word >> 8)) | (~(vu)low & (~word >> 8));
    vf part = (__builtin_convertvector((vi)digits, vf) + 0.5f) * 0x1p-24f;  // u, or 1 - u
    vf u = select(low, part, 1.0f - part), lost = 1.0f - u;
    vf wait = -logarithm(u);
    vf fixed = select(lost > 0.0f, wait * part / select(lost > 0.0f, lost, splat(1.0f)), part);
    return -logarithm(select(low, wait, fixed));
}

// No less than the noise of sixteen words, and cheaper: -log u is at least 1 - u, and a float's bits, read as an integer,
// bound its logarithm.
static INLINE vf gumbel_bound(vu word) {
    vf lost = __builtin_convertvector((vi)(~word >> 8), vf) * 0x1p-24f + 0x1p-26f;
    return 88.03f - __builtin_convertvector((vi)lost, vf) * (0.69314718f * 0x1p-23f);
}

static inline double exact_gumbel(uint64_t key, uint64_t position, long token) {
    uint32_t words[64];
    philox(key, position, uint32_t(token / 4), words);
    return -std::log(-std::log((double(words[token % 4] >> 8) + 0.5) * 0x1p-24));
}
