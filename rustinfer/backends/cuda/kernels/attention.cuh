// Attention of one new token: queries and the newest key come from the projection, older keys and values from the ring.
#pragma once
#include "product.cuh"

struct Attention {
  Consumer& c;
  const Arguments& p;
  const Shared& s;
  const Layer& layer;
  int place, j;            // the lane's place among its warp's, and its sixteenth of a head's dimensions
  u32 q[GROUP][8];         // rotated queries, bf16 pairs: dimensions 8j.. and DIM / 2 + 8j..
  float peak[GROUP], sum[GROUP], out[GROUP][LANES / 2];  // of this warp; `out` has DIM / 32 neighbouring dimensions a lane

  DEVICE Attention(Consumer& c, const Layer& layer)
      : c(c), p(c.p), s(c.s), layer(layer), place(c.lane / LANES), j(c.lane % LANES) {}

  // Two halves of eight dimensions, rotated and rounded.
  DEVICE void rotate(u32 (&to)[8], const float (&x)[16], const float (&cosine)[8], const float (&sine)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      to[i / 2] = pack(x[i] * cosine[i] - x[8 + i] * sine[i], x[i + 1] * cosine[i + 1] - x[9 + i] * sine[i + 1]);
      to[4 + i / 2] = pack(x[8 + i] * cosine[i] + x[i] * sine[i], x[9 + i] * cosine[i + 1] + x[i + 1] * sine[i + 1]);
    }
  }
  // A lane's sixteen dimensions of a head.
  DEVICE void want(Words<4 * GROUP + 5, false>& words, int n, const float* from) const {
#pragma unroll
    for (int i = 0; i < 4; i++) words.want(n + i, from + (i / 2) * (DIM / 2) + 8 * j + (i % 2) * 4);
  }
  DEVICE static void unpack(float (&to)[16], const uint4* from) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      to[4 * i] = as_float(from[i].x), to[4 * i + 1] = as_float(from[i].y);
      to[4 * i + 2] = as_float(from[i].z), to[4 * i + 3] = as_float(from[i].w);
    }
  }
  DEVICE static void put(u32* to, uint4 v) { to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w; }
  DEVICE float score(int h, const u32 (&k)[8]) const {
    float v = 0, w = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) v += low(q[h][i]) * low(k[i]), w += high(q[h][i]) * high(k[i]);
    v += w;
#pragma unroll
    for (int mask = 1; mask < LANES; mask *= 2) v += shuffle_xor(v, mask);
    return v * p.scale;
  }

  // The newest position: store its key and value, and begin with its score. A row without a slot uses what is cached.
  DEVICE void newest(const Unit& unit, u32 (&k)[8], const float* value) {
    constexpr int E = LANES / 2;
    i64 slot = p.slots[unit.row];
    int last = p.lengths[unit.row] - 1;
    u64 at = slot >= 0 ? slot : (u64)p.pages[(u64)unit.row * p.pages_stride + last / PAGE] * PAGE + last % PAGE;
    u64 to = ((at / PAGE * KV_HEADS + unit.head) * PAGE + at % PAGE) * DIM;
    u16 *key = layer.keys + to, *cached = layer.values + to + c.lane * E;
    u32 v[E / 2];
#pragma unroll
    for (int i = 0; i < E / 2; i++) v[i] = slot >= 0 ? pack(value[2 * i], value[2 * i + 1]) : ((const u32*)cached)[i];
    if (slot < 0) {
      put(k, *(const uint4*)(key + 8 * j));
      put(k + 4, *(const uint4*)(key + DIM / 2 + 8 * j));
    } else {
      if (place == 0) {
        *(uint4*)(key + 8 * j) = make_uint4(k[0], k[1], k[2], k[3]);
        *(uint4*)(key + DIM / 2 + 8 * j) = make_uint4(k[4], k[5], k[6], k[7]);
      }
#pragma unroll
      for (int i = 0; i < E / 2; i++) ((u32*)cached)[i] = v[i];
    }
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      peak[h] = score(h, k);
      sum[h] = place == 0 ? 1 : 0;
#pragma unroll
      for (int i = 0; i < E; i++) out[h][i] = i % 2 ? high(v[i / 2]) : low(v[i / 2]);
    }
  }

  // One tile of cached positions, of which this warp takes PLACES; `left` of the tile's are in use.
  DEVICE void tile(int left) {
    constexpr int E = LANES / 2;
    const u8* keys = c.next_tile();
    const u8* values = keys + TILE_PLACES * DIM * 2;
    const int first = c.warp * PLACES, mine = first + place;
    const bool valid = mine < left;
    u32 k[8];
    float v[GROUP];
    const u8* key = keys + (mine * DIM + 8 * j) * 2;
    put(k, *(const uint4*)key);
    put(k + 4, *(const uint4*)(key + DIM));
    float* weights = s.weights + first * 4;
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float x = score(h, k);
      x = valid ? x : -INFINITY;
      float most = x;
#pragma unroll
      for (int mask = LANES; mask < 32; mask *= 2) most = fmaxf(most, shuffle_xor(most, mask));
      most = fmaxf(most, peak[h]);
      float base = most == -INFINITY ? 0 : most, fade = exp2_fast(peak[h] - base);
      v[h] = exp2_fast(x - base);
      peak[h] = most;
      sum[h] = sum[h] * fade + v[h];
#pragma unroll
      for (int i = 0; i < E; i++) out[h][i] *= fade;
    }
    if (j == 0)
#pragma unroll
      for (int h = 0; h < GROUP; h++) weights[place * 4 + h] = v[h];
    warp_barrier();
    int n = left - first < PLACES ? left - first : PLACES;
    for (int i = 0; i < n; i++) {
      float4 w = *(const float4*)(weights + i * 4);
      const u32* row = (const u32*)(values + ((first + i) * DIM + c.lane * E) * 2);
#pragma unroll
      for (int e = 0; e < E; e += 2) {
        u32 pair = row[e / 2];
        float x = low(pair), y = high(pair);
#pragma unroll
        for (int h = 0; h < GROUP; h++) {
          float share = h == 0 ? w.x : h == 1 ? w.y : h == 2 ? w.z : w.w;
          out[h][e] += share * x;
          out[h][e + 1] += share * y;
        }
      }
    }
    c.free_tile();
  }

  // All of unit number u.
  DEVICE void run(int u, const Splits& splits, int l) {
    constexpr int E = LANES / 2;
    const Unit unit = ::unit(p, splits, u);
    const Exchange e = c.at(l);
    const int length = p.lengths[unit.row];
    const bool first = unit.split == 0 && c.warp == 0 && length > 0;
    float cosine[8], sine[8], value[E];
    const i64 position = p.positions[unit.row];  // of padding it may be anything
    const u64 turn = (u64)(position < 0 ? 0 : position) * (DIM / 2) + 8 * j;
#pragma unroll
    for (int i = 0; i < 8; i++) cosine[i] = p.cosines[turn + i], sine[i] = p.sines[turn + i];
    const float* from = e.qkv + unit.row * QKV;
    Words<4 * GROUP + 5, false> words;
#pragma unroll
    for (int h = 0; h < GROUP; h++) want(words, 4 * h, from + (unit.head * GROUP + h) * DIM);
#pragma unroll
    for (int i = 0; i < 5; i++) words.skip(4 * GROUP + i);
    if (first) {
      want(words, 4 * GROUP, from + (HEADS + unit.head) * DIM);
      words.want(4 * GROUP + 4, from + (HEADS + KV_HEADS + unit.head) * DIM + c.lane * E / 4 * 4);
    }
    words.ask();
    words.receive(p, S_ATTENTION, l);
    const uint4 last = words.v[4 * GROUP + 4];
#pragma unroll
    for (int i = 0; i < E; i += 2) {
      const bool second = E == 2 ? c.lane % 2 : i == 2;  // E is 2 or 4: a lane has half of the 16 bytes, or all
      value[i] = as_float(second ? last.z : last.x), value[i + 1] = as_float(second ? last.w : last.y);
    }
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float x[16];
      unpack(x, words.v + 4 * h);
      rotate(q[h], x, cosine, sine);
      peak[h] = -INFINITY, sum[h] = 0;
#pragma unroll
      for (int i = 0; i < E; i++) out[h][i] = 0;
    }
    if (first) {
      float x[16];
      u32 k[8];
      unpack(x, words.v + 4 * GROUP);
      rotate(k, x, cosine, sine);
      newest(unit, k, value);
    }
    int left = length - 1 - unit.first_page * PAGE;
    left = left < unit.pages * PAGE ? left : unit.pages * PAGE;
    for (; left > 0; left -= TILE_PLACES) tile(left < TILE_PLACES ? left : TILE_PLACES);
    keep();
    barrier(1, CONSUMERS);
    for (int i = thread(); i < GROUP * DIM; i += CONSUMERS) merge(e, unit, splits.count, u, i, l);
    barrier(1, CONSUMERS);
  }

  // This warp's result into shared memory.
  DEVICE void keep() const {
    constexpr int E = LANES / 2;
    float* to = s.merge + c.warp * UNIT;
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float all = sum[h];
#pragma unroll
      for (int mask = LANES; mask < 32; mask *= 2) all += shuffle_xor(all, mask);
      if (c.lane == 0) to[GROUP * DIM + 2 * h] = peak[h], to[GROUP * DIM + 2 * h + 1] = all;
#pragma unroll
      for (int i = 0; i < E; i++) to[h * DIM + c.lane * E + i] = out[h][i];
    }
  }

  // Dimension i of the unit's heads, over all warps; and in the first split over all others too, in their order.
  DEVICE void merge(const Exchange& e, const Unit& unit, int count, int u, int i, int l) const {
    const int h = i / DIM, at = GROUP * DIM + 2 * h;
    float peak = -INFINITY, all = 0, mixed = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) peak = fmaxf(peak, s.merge[w * UNIT + at]);
    peak = peak == -INFINITY ? 0 : peak;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const float* part = s.merge + w * UNIT;
      float fade = exp2_fast(part[at] - peak);
      mixed += part[i] * fade;
      all += part[at + 1] * fade;
    }
    float* mine = e.shares + (u64)u * UNIT;
    if (unit.split) {
      publish(mine + i, mixed);
      if (i % DIM == 0) publish(mine + at, peak), publish(mine + at + 1, all);
      return;
    }
    constexpr int MANY = 8;
    for (int n = 1; n < count; n += MANY) {
      u32 words[3 * MANY], missing = 0;
#pragma unroll
      for (int m = 0; m < MANY; m++)
        if (n + m < count) missing |= 7 << 3 * m;
      Patience patience(p);
      do {
#pragma unroll
        for (int m = 0; m < 3 * MANY; m++)
          if (missing >> m & 1) words[m] = look(mine + (u64)(n + m / 3) * KV_HEADS * UNIT + (m % 3 == 2 ? i : at + m % 3));
#pragma unroll
        for (int m = 0; m < 3 * MANY; m++)
          if ((missing >> m & 1) && there(words[m])) missing &= ~(1u << m);
      } while (missing && !patience.over(S_MERGE, l));
#pragma unroll
      for (int m = 0; m < MANY; m++) {
        if (n + m >= count) continue;
        float other = as_float(words[3 * m]), weight = as_float(words[3 * m + 1]);
        if (!(weight > 0)) continue;
        float top = all > 0 ? fmaxf(peak, other) : other;
        float fade = exp2_fast(peak - top), grow = exp2_fast(other - top);
        fade = all > 0 ? fade : 0;
        mixed = mixed * fade + as_float(words[3 * m + 2]) * grow;
        all = all * fade + weight * grow;
        peak = top;
      }
    }
    publish(e.mixed + unit.row * MIXED + unit.head * GROUP * DIM + i, all > 0 ? mixed / all : 0);
  }
};
