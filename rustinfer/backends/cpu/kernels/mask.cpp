// Forbidden tokens.
#include <cmath>
#include <cstdint>

#include "pool.h"

extern "C" void ri_mask(float* logits, long stride, const int64_t* rows, long count, long vocab, const uint32_t* bits, long words) {
    parallel(count, count * vocab < 100000 ? count : 1, [&](long k) {
        float* row = logits + rows[k] * stride;
        for (long w = 0; w * 32 < vocab; w++) {
            uint32_t word = bits[k * words + w];
            if (word == 0xffffffffu) continue;
            long n = vocab - w * 32 < 32 ? vocab - w * 32 : 32;
            for (long i = 0; i < n; i++)
                if (!(word >> i & 1)) row[w * 32 + i] = -INFINITY;
        }
    });
}
