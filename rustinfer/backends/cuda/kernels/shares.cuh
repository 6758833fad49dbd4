// What a unit tells of its part of the positions, and how the first part merges all others: the same whatever made the part.
#pragma once
#include "product.cuh"

constexpr int EACH = GROUP * DIM > CONSUMERS ? 2 : 1;  // neighbours that a thread merges: others are waited for once

// A peak, or zero where there is none: nothing is above it, then, and nothing counts.
DEVICE float finite(float peak) { return peak == -INFINITY ? 0 : peak; }

// EACH dimensions from i on of the unit's heads, as `peak`, the weights' sum `all` and the sums `mixed` of this part: told; or
// in the first part merged with the others, in their order, and then told.
DEVICE void tell_share(const Arguments& p, const Exchange& e, const Unit& unit, int count, int u, int i, int l, float peak,
                       float all, float (&mixed)[EACH]) {
  const int at = GROUP * DIM + 2 * (i / DIM);
  float* mine = e.shares + (u64)u * UNIT;
  if (unit.split) {
#pragma unroll
    for (int d = 0; d < EACH; d++) publish(mine + i + d, mixed[d]);
    if (i % DIM == 0) publish(mine + at, peak), publish(mine + at + 1, all);
    return;
  }
  constexpr int W = 2 + EACH;  // words of each split: peak, weight and sums
  static_assert(W * MANY < 32, "a bit for each word");
  for (int n = 1; n < count; n += MANY) {
    u32 words[W * MANY], missing = 0;
#pragma unroll
    for (int m = 0; m < MANY; m++) {
      if (n + m < count) missing |= ((1 << W) - 1) << W * m;
      words[W * m] = as_bits(-INFINITY);
#pragma unroll
      for (int d = 1; d < W; d++) words[W * m + d] = 0;
    }
    Patience patience(p);
    const float* other = mine + (u64)n * KV_HEADS * UNIT;
    do {
#pragma unroll
      for (int m = 0; m < W * MANY; m++)
        if (missing >> m & 1) words[m] = look(other + m / W * KV_HEADS * UNIT + (m % W < 2 ? at + m % W : i + m % W - 2));
#pragma unroll
      for (int m = 0; m < W * MANY; m++)
        if ((missing >> m & 1) && there(words[m])) missing &= ~(1u << m);
    } while (missing && !patience.over(S_MERGE, l));
    const float before = peak;
#pragma unroll
    for (int m = 0; m < MANY; m++) peak = fmaxf(peak, as_float(words[W * m]));
    const float top = finite(peak);
    const float fade = exp2_fast(before - top);
    all *= fade;
#pragma unroll
    for (int d = 0; d < EACH; d++) mixed[d] *= fade;
#pragma unroll
    for (int m = 0; m < MANY; m++) {
      const float grow = exp2_fast(as_float(words[W * m]) - top);
#pragma unroll
      for (int d = 0; d < EACH; d++) mixed[d] += as_float(words[W * m + 2 + d]) * grow;
      all += as_float(words[W * m + 1]) * grow;
    }
  }
#pragma unroll
  for (int d = 0; d < EACH; d++)
    publish(e.mixed + told_at(unit.row, unit.head * GROUP * DIM + i + d, MIXED), all > 0 ? mixed[d] / all : 0);
}
