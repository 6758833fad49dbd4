// Attention of one new token: queries and the newest key come from the projection, older keys and values from the ring.
// A warp works for one query head, so that its code is short: it runs once a layer, out of a cold instruction cache.
#pragma once
#include "shares.cuh"

struct Attention {
  static constexpr int E = LANES / 2;  // of a head's dimensions, those that a lane sums: E neighbours
  Consumer& c;
  const Arguments& p;
  const Shared& s;
  const Layer& layer;
  const int place, j;     // the lane's place among its warp's, and its sixteenth of a head's dimensions
  const int head, piece;  // of the warp: its query head in the group, and its run of places in a tile
  u32 q[8];               // the rotated query, bf16 pairs: dimensions 8j.. and DIM / 2 + 8j..
  float peak = -INFINITY, sum = 0, out[E];

  DEVICE Attention(Consumer& c, const Layer& layer)
      : c(c), p(c.p), s(c.s), layer(layer), place(c.lane / LANES), j(c.lane % LANES), head(c.warp / PIECES), piece(c.warp % PIECES) {
#pragma unroll
    for (int i = 0; i < E; i++) out[i] = 0;
  }

  // A lane's sixteen dimensions of a head.
  DEVICE void want(Words<9, false>& words, int n, int head) const {
#pragma unroll
    for (int i = 0; i < 4; i++) words.want(n + i, (head * DIM + (i / 2) * (DIM / 2) + 8 * j + (i % 2) * 4) * 4);
  }
  // Two halves of eight dimensions, rotated and rounded.
  DEVICE void rotate(u32 (&to)[8], const uint4* from, const float4 (&cosine)[2], const float4 (&sine)[2]) const {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint4 a = from[i], b = from[2 + i];
      const float4 c = cosine[i], s = sine[i];
      to[2 * i] = turned(a.x, b.x, -s.x, c.x, a.y, b.y, -s.y, c.y);
      to[2 * i + 1] = turned(a.z, b.z, -s.z, c.z, a.w, b.w, -s.w, c.w);
      to[4 + 2 * i] = turned(b.x, a.x, s.x, c.x, b.y, a.y, s.y, c.y);
      to[5 + 2 * i] = turned(b.z, a.z, s.z, c.z, b.w, a.w, s.w, c.w);
    }
  }
  DEVICE static u32 turned(u32 x, u32 y, float s, float c, u32 z, u32 w, float t, float d) {
    return pack(as_float(x) * c + as_float(y) * s, as_float(z) * d + as_float(w) * t);
  }
  DEVICE float product(uint4 a, uint4 b) const {
    const u32 k[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    float v = 0, w = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) v += low(q[i]) * low(k[i]), w += high(q[i]) * high(k[i]);
    return v + w;
  }
  // Summed over the lanes of a place.
  DEVICE float score(float v) const {
#pragma unroll
    for (int mask = 1; mask < LANES; mask *= 2) v += shuffle_xor(v, mask);
    return v * p.scale;
  }

  // The newest position: begin with its score; one warp stores key and value. A row without a slot uses what is cached.
  DEVICE void newest(const Unit& unit, u32 (&k)[8], const float (&value)[E]) {
    const bool stored = c.row(unit.row).slot >= 0;
    const u64 at = c.row(unit.row).newest;
    const u64 to = ((at / PAGE * KV_HEADS + unit.head) * PAGE + at % PAGE) * DIM;
    uint4 *a = (uint4*)(layer.keys + to + 8 * j), *b = (uint4*)(layer.keys + to + DIM / 2 + 8 * j);
    u32* cached = (u32*)(layer.values + to + c.lane * E);
    uint4 x = make_uint4(k[0], k[1], k[2], k[3]), y = make_uint4(k[4], k[5], k[6], k[7]);
    u32 v[E / 2];
#pragma unroll
    for (int i = 0; i < E / 2; i++) v[i] = stored ? pack(value[2 * i], value[2 * i + 1]) : cached[i];
    if (!stored) {
      x = *a, y = *b;
    } else if (head == 0) {
      if (place == 0) *a = x, *b = y;
#pragma unroll
      for (int i = 0; i < E / 2; i++) cached[i] = v[i];
    }
    peak = score(product(x, y));
    sum = place == 0 ? 1 : 0;
#pragma unroll
    for (int i = 0; i < E; i++) out[i] = i % 2 ? high(v[i / 2]) : low(v[i / 2]);
  }

  // One tile of cached positions, of which this warp takes RUN; `left` of the tile's are in use.
  DEVICE void tile(int left) {
    const u8* keys = c.wait_for(c.tile);
    const u8* values = keys + TILE_PLACES * DIM * 2;
    const int first = piece * RUN, mine = left - first;
    float* weights = s.weights + c.warp * RUN;
    if (head < GROUP && mine > 0) {
      float x[PASSES], most = peak;
#pragma unroll
      for (int i = 0; i < PASSES; i++) {
        const u8* key = keys + ((first + i * PLACES + place) * DIM + 8 * j) * 2;
        x[i] = product(*(const uint4*)key, *(const uint4*)(key + DIM));
      }
#pragma unroll
      for (int i = 0; i < PASSES; i++) {
        x[i] = score(x[i]);
        x[i] = i * PLACES + place < mine ? x[i] : -INFINITY;
        most = fmaxf(most, x[i]);
      }
#pragma unroll
      for (int mask = LANES; mask < 32; mask *= 2) most = fmaxf(most, shuffle_xor(most, mask));
      const float fade = exp2_fast(peak - most);  // there is at least one place, so `most` is finite
      peak = most;
      sum *= fade;
#pragma unroll
      for (int i = 0; i < PASSES; i++) {
        x[i] = exp2_fast(x[i] - most);
        sum += x[i];
        if (j == 0) weights[i * PLACES + place] = x[i];
      }
#pragma unroll
      for (int e = 0; e < E; e++) out[e] *= fade;
      warp_barrier();
      const u32* row = (const u32*)(values + (first * DIM + c.lane * E) * 2);
      const int n = mine < RUN ? mine : RUN;
      int i = 0;
      for (; i + 4 <= n; i += 4) add(*(const float4*)(weights + i), row + i * DIM / 2);
      for (; i < n; i++) add(weights[i], row + i * DIM / 2);
    }
    c.free_tiles(1);
  }
  DEVICE void add(float weight, const u32* row) {
#pragma unroll
    for (int e = 0; e < E; e += 2) out[e] += weight * low(row[e / 2]), out[e + 1] += weight * high(row[e / 2]);
  }
  DEVICE void add(float4 w, const u32* row) {
    add(w.x, row);
    add(w.y, row + DIM / 2);
    add(w.z, row + DIM);
    add(w.w, row + 3 * DIM / 2);
  }

  // All of a unit, which is number u.
  DEVICE void run(int u, const Unit& unit, const Splits& splits, int l) {
    const Exchange e = c.at(l);
    const int length = c.row(unit.row).length;
    moment(c, l, 50);
    if (head < GROUP) {
      const u64 turn = (u64)c.row(unit.row).position * (DIM / 2) + 8 * j;
      const float4* cosines = (const float4*)(p.cosines + turn);
      const float4* sines = (const float4*)(p.sines + turn);
      const float4 cosine[2] = {cosines[0], cosines[1]}, sine[2] = {sines[0], sines[1]};
      const bool first = unit.split == 0 && piece == 0 && length > 0;
      Words<9, false> words(e.qkv + unit.row * QKV);
#pragma unroll
      for (int i = 4; i < 9; i++) words.skip(i);
      want(words, 0, unit.head * GROUP + head);
      if (first) {
        want(words, 4, HEADS + unit.head);
        words.want(8, ((HEADS + KV_HEADS + unit.head) * DIM + c.lane * E / 4 * 4) * 4);
      }
      words.ask();
      words.receive(p, S_ATTENTION, l);
      moment(c, l, 51);
      rotate(q, words.v, cosine, sine);
      if (first) {
        u32 k[8];
        float value[E];
        rotate(k, words.v + 4, cosine, sine);
#pragma unroll
        for (int i = 0; i < E; i += 2) {
          const bool second = E == 2 ? c.lane % 2 : i == 2;  // E is 2 or 4: a lane has half of the 16 bytes, or all
          value[i] = as_float(second ? words.v[8].z : words.v[8].x);
          value[i + 1] = as_float(second ? words.v[8].w : words.v[8].y);
        }
        newest(unit, k, value);
      }
    }
    moment(c, l, 52);
    int left = length - 1 - unit.first_page * PAGE;
    left = left < unit.pages * PAGE ? left : unit.pages * PAGE;
    for (; left > 0; left -= TILE_PLACES) tile(left < TILE_PLACES ? left : TILE_PLACES);
    moment(c, l, 53);
#pragma unroll
    for (int mask = LANES; mask < 32; mask *= 2) sum += shuffle_xor(sum, mask);
    float* to = s.merge + c.warp * (DIM + 2);
    if (c.lane == 0) to[DIM] = peak, to[DIM + 1] = sum;
#pragma unroll
    for (int i = 0; i < E; i++) to[c.lane * E + i] = out[i];
    barrier(1, CONSUMERS);
    moment(c, l, 54);
    for (int i = thread() * EACH; i < GROUP * DIM; i += CONSUMERS * EACH) merge(e, unit, splits.count, u, i, l);
    moment(c, l, 55);
    barrier(1, CONSUMERS);
    moment(c, l, unit.split ? 56 : 57);
  }

  // EACH dimensions from i on of the unit's heads, over a head's warps; and in the first split over all others too, in their
  // order.
  DEVICE void merge(const Exchange& e, const Unit& unit, int count, int u, int i, int l) const {
    const int h = i / DIM;
    const float* parts = s.merge + h * PIECES * (DIM + 2);
    float peak = -INFINITY, all = 0, mixed[EACH];
#pragma unroll
    for (int w = 0; w < PIECES; w++) peak = fmaxf(peak, parts[w * (DIM + 2) + DIM]);
    float top = finite(peak);
#pragma unroll
    for (int d = 0; d < EACH; d++) mixed[d] = 0;
#pragma unroll
    for (int w = 0; w < PIECES; w++) {
      const float* part = parts + w * (DIM + 2);
      const float fade = exp2_fast(part[DIM] - top);
#pragma unroll
      for (int d = 0; d < EACH; d++) mixed[d] += part[i % DIM + d] * fade;
      all += part[DIM + 1] * fade;
    }
    tell_share(p, e, unit, count, u, i, l, peak, all, mixed);
  }
};
