// Attention of one new token: queries and the newest key come from the projection, older keys and values from the ring.
// A warp takes eight places of each tile, and all query heads of the key head: they are rows of a matrix instruction. Of values
// it takes 64 dimensions: where a head has 128, another warp has the same places and the others.
#pragma once
#include "shares.cuh"

struct Attention {
  static constexpr int E = DIM / 32, HALVES = DIM / 64, SHARERS = WARPS / HALVES;  // warps that share a tile's places
  static constexpr int KEYS = DIM / 16, WORDS = 2 * KEYS + 1, SECOND = 64;  // in bytes: of 64 dimensions the second half
  Consumer& c;
  const Arguments& p;
  const Shared& s;
  const Layer& layer;
  const int g, t;         // the lane's query head, and its eight of every 32 dimensions, from 8t on
  const int piece, half;  // of the warp: its eight places of a tile, and its 64 dimensions of values
  float* const merge_in;
  u32 q[DIM / 8];  // the rotated query, bf16 pairs
  float peak = -INFINITY, sum = 0, out[8][4];

  DEVICE Attention(Consumer& c, const Layer& layer)
      : c(c), p(c.p), s(c.s), layer(layer), g(c.g), t(c.t), piece(c.warp % SHARERS), half(c.warp / SHARERS),
        merge_in(MERGE_INSIDE ? c.part(0, 0, 0) : s.merge) {
#pragma unroll
    for (int i = 0; i < 8; i++) out[i][0] = out[i][1] = out[i][2] = out[i][3] = 0;
  }

  // A lane's dimensions of a head.
  DEVICE void want(Words<WORDS, false>& words, int n, int head) const {
#pragma unroll
    for (int i = 0; i < KEYS; i++) words.want(n + i, (head * DIM + i / 2 * 32 + 8 * t + i % 2 * 4) * 4);
  }
  // A head's halves, rotated and rounded.
  DEVICE void rotate(u32 (&to)[DIM / 8], const uint4* from, const float4 (&cosine)[2 * HALVES], const float4 (&sine)[2 * HALVES]) const {
#pragma unroll
    for (int i = 0; i < 2 * HALVES; i++) {
      const uint4 a = from[i], b = from[2 * HALVES + i];
      const float4 c = cosine[i], s = sine[i];
      to[2 * i] = turned(a.x, b.x, -s.x, c.x, a.y, b.y, -s.y, c.y);
      to[2 * i + 1] = turned(a.z, b.z, -s.z, c.z, a.w, b.w, -s.w, c.w);
      to[4 * HALVES + 2 * i] = turned(b.x, a.x, s.x, c.x, b.y, a.y, s.y, c.y);
      to[4 * HALVES + 2 * i + 1] = turned(b.z, a.z, s.z, c.z, b.w, a.w, s.w, c.w);
    }
  }
  DEVICE static u32 turned(u32 x, u32 y, float s, float c, u32 z, u32 w, float t, float d) {
    return pack(as_float(x) * c + as_float(y) * s, as_float(z) * d + as_float(w) * t);
  }

  // The newest position, by one warp: its score for each head, and its value, stand beside what warps have of a tile; key and
  // value are stored. A row without a slot uses what is cached.
  DEVICE void newest(const Unit& unit, u32 (&k)[DIM / 8], const float (&value)[E]) {
    const bool stored = c.row(unit.row).slot >= 0;
    const u64 at = c.row(unit.row).newest;
    const u64 to = ((at / PAGE * KV_HEADS + unit.head) * PAGE + at % PAGE) * DIM;
    u32* mine = (u32*)(merge_in + SHARERS * GROUP * MERGE_APART);
#pragma unroll
    for (int i = 0; i < DIM / 8; i += 4) {
      uint4* key = (uint4*)(layer.keys + to + 8 * i + 8 * t);
      if (!stored) {
        const uint4 v = *key;
        k[i] = v.x, k[i + 1] = v.y, k[i + 2] = v.z, k[i + 3] = v.w;
      } else if (g == 0) {
        *key = make_uint4(k[i], k[i + 1], k[i + 2], k[i + 3]);
      }
    }
#pragma unroll
    for (int i = 0; i < E; i += 2) {
      u32* cached = (u32*)(layer.values + to + c.lane * E + i);
      const u32 v = stored ? pack(value[i], value[i + 1]) : *cached;
      if (stored) *cached = v;
      mine[(c.lane * E + i) / 2] = v;
    }
    float x = 0, y = 0;
#pragma unroll
    for (int i = 0; i < DIM / 8; i++) x += low(q[i]) * low(k[i]), y += high(q[i]) * high(k[i]);
    x += y;
    x += shuffle_xor(x, 1);
    x += shuffle_xor(x, 2);
    if (t == 0 && g < GROUP) merge_in[g * MERGE_APART + DIM + 2] = x * p.scale;
  }

  // One tile of cached positions, of which this warp takes eight; `left` of the tile's are in use. Weights are two numbers in
  // bf16, one for what the other lacks, in rows of their own: as good as one in fp32.
  DEVICE void tile(int left) {
    const u8* keys = c.wait_for(c.tile);
    const int first = piece * 8, mine = left - first;
    if (mine > 0) {
      const u8* key = keys + (first + g) * DIM * 2 + 16 * t;
      // Places beyond the last have no weight, but what lies there may be no number: the last one stands for them.
      const int last = mine - 1, a = 2 * t < last ? 2 * t : last, b = 2 * t + 1 < last ? 2 * t + 1 : last;
      const u8* value = keys + (TILE_PLACES + first) * DIM * 2 + half * 2 * SECOND;
      // Every other lane begins with the second half, so that fewer meet in a bank.
      const int at = g * 8 + t % 2 * SECOND;
      uint2 v[2] = {*(const uint2*)(value + a * DIM * 2 + at), *(const uint2*)(value + a * DIM * 2 + (at ^ SECOND))};
      uint2 w[2] = {*(const uint2*)(value + b * DIM * 2 + at), *(const uint2*)(value + b * DIM * 2 + (at ^ SECOND))};
      float d[4] = {0, 0, 0, 0}, e[4] = {0, 0, 0, 0};
#pragma unroll
      for (int i = 0; i < DIM / 8; i += 4) {
        const uint4 k = *(const uint4*)(key + 16 * i);
        mma(d, q[i], 0, q[i + 1], 0, k.x, k.y);
        mma(e, q[i + 2], 0, q[i + 3], 0, k.z, k.w);
      }
      float x = 2 * t < mine ? (d[0] + e[0]) * p.scale : -INFINITY, y = 2 * t + 1 < mine ? (d[1] + e[1]) * p.scale : -INFINITY;
      float most = fmaxf(peak, fmaxf(x, y));
      most = fmaxf(most, shuffle_xor(most, 1));
      most = fmaxf(most, shuffle_xor(most, 2));
      const float fade = exp2_fast(peak - most);  // there is at least one place, so `most` is finite
      peak = most;
      x = exp2_fast(x - most), y = exp2_fast(y - most);
      sum = sum * fade + (x + y);
      const u32 much = pack(x, y), little = pack(x - low(much), y - high(much));
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int n = 0; n < 4; n++) out[i][n] *= fade;
      const bool swap = t % 2;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const uint2 f = swap ? v[1 - h] : v[h], s = swap ? w[1 - h] : w[h];
        mma_short(out[4 * h], much, little, bytes_of(f.x, s.x, 0x5410));
        mma_short(out[4 * h + 1], much, little, bytes_of(f.x, s.x, 0x7632));
        mma_short(out[4 * h + 2], much, little, bytes_of(f.y, s.y, 0x5410));
        mma_short(out[4 * h + 3], much, little, bytes_of(f.y, s.y, 0x7632));
      }
    }
    c.free_tiles(1);
  }
  // A lane's four columns of its head, from n * 4 on, of an eighth of all.
  DEVICE float4 four(int h, int n) const {
    return make_float4(out[4 * h][n] + out[4 * h][n + 2], out[4 * h + 1][n] + out[4 * h + 1][n + 2],
                       out[4 * h + 2][n] + out[4 * h + 2][n + 2], out[4 * h + 3][n] + out[4 * h + 3][n + 2]);
  }

  // All of a unit, which is number u.
  DEVICE void run(int u, const Unit& unit, const Splits& splits, int l) {
    const Exchange e = c.at(l);
    const int length = c.row(unit.row).length;
    const bool newer = unit.split == 0 && length > 0, first = newer && c.warp == WARPS - 1;
    moment(c, l, 50);
    const u64 turn = (u64)c.row(unit.row).position * (DIM / 2) + 8 * t;
    float4 cosine[2 * HALVES], sine[2 * HALVES];
#pragma unroll
    for (int i = 0; i < 2 * HALVES; i++) {
      cosine[i] = *(const float4*)(p.cosines + turn + i / 2 * 32 + i % 2 * 4);
      sine[i] = *(const float4*)(p.sines + turn + i / 2 * 32 + i % 2 * 4);
    }
    Words<WORDS, false> words(e.qkv + unit.row * QKV);
#pragma unroll
    for (int i = 0; i < WORDS; i++) words.skip(i);
    if (g < GROUP) want(words, 0, unit.head * GROUP + g);
    if (first) {
      want(words, KEYS, HEADS + unit.head);
      words.want(2 * KEYS, ((HEADS + KV_HEADS + unit.head) * DIM + c.lane * E / 4 * 4) * 4);
    }
    words.ask();
    words.receive(p, S_ATTENTION, l);
    moment(c, l, 51);
    rotate(q, words.v, cosine, sine);
    if (first) {
      u32 k[DIM / 8];
      float value[E];
      rotate(k, words.v + KEYS, cosine, sine);
      const uint4 v = words.v[2 * KEYS];
#pragma unroll
      for (int i = 0; i < E; i += 2) {
        const bool second = E == 2 ? c.lane % 2 : i == 2;  // a lane has half of the 16 bytes, or all
        value[i] = as_float(second ? v.z : v.x), value[i + 1] = as_float(second ? v.w : v.y);
      }
      newest(unit, k, value);
    }
    moment(c, l, 52);
    int left = length - 1 - unit.first_page * PAGE;
    left = left < unit.pages * PAGE ? left : unit.pages * PAGE;
    for (; left > 0; left -= TILE_PLACES) tile(left < TILE_PLACES ? left : TILE_PLACES);
    moment(c, l, 53);
    sum += shuffle_xor(sum, 1);
    sum += shuffle_xor(sum, 2);
    if (g < GROUP) {
      float* to = merge_in + (piece * GROUP + g) * MERGE_APART;
      if (t == 0 && half == 0) to[DIM] = peak, to[DIM + 1] = sum;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        *(float4*)(to + half * 64 + h * 32 + 8 * t) = four(h, 0);
        *(float4*)(to + half * 64 + h * 32 + 8 * t + 4) = four(h, 1);
      }
    }
    barrier(1, CONSUMERS);
    moment(c, l, 54);
    for (int i = thread() * EACH; i < GROUP * DIM; i += CONSUMERS * EACH) merge(e, unit, newer, splits.count, u, i, l);
    moment(c, l, 55);
    barrier(1, CONSUMERS);
    moment(c, l, unit.split ? 56 : 57);
  }

  // EACH dimensions from i on of the unit's heads, over all warps; and in the first split over all others too, in their order.
  DEVICE void merge(const Exchange& e, const Unit& unit, bool newer, int count, int u, int i, int l) const {
    const int h = i / DIM;
    const float* parts = merge_in + h * MERGE_APART;
    float peak = newer ? parts[DIM + 2] : -INFINITY, all = 0, mixed[EACH];
    const float score = peak;
#pragma unroll
    for (int w = 0; w < SHARERS; w++) peak = fmaxf(peak, parts[w * GROUP * MERGE_APART + DIM]);
    float top = finite(peak);
#pragma unroll
    for (int d = 0; d < EACH; d++) mixed[d] = 0;
    if (newer) {
      const u32* latest = (const u32*)(merge_in + SHARERS * GROUP * MERGE_APART);
      all = exp2_fast(score - top);
#pragma unroll
      for (int d = 0; d < EACH; d++) mixed[d] = ((i + d) % 2 ? high(latest[(i % DIM + d) / 2]) : low(latest[(i % DIM + d) / 2])) * all;
    }
#pragma unroll
    for (int w = 0; w < SHARERS; w++) {
      const float* part = parts + w * GROUP * MERGE_APART;
      const float fade = exp2_fast(part[DIM] - top);
#pragma unroll
      for (int d = 0; d < EACH; d++) mixed[d] += part[i % DIM + d] * fade;
      all += part[DIM + 1] * fade;
    }
    tell_share(p, e, unit, count, u, i, l, peak, all, mixed);
  }
};
