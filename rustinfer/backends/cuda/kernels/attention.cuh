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
  DEVICE void fetch(float (&to)[16], const float* from) const {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float4 v = load_fresh4(from + (i / 2) * (DIM / 2) + 8 * j + (i % 2) * 4);
      to[4 * i] = v.x, to[4 * i + 1] = v.y, to[4 * i + 2] = v.z, to[4 * i + 3] = v.w;
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

  // All of one unit. `direct`: the shares are left for the output projection.
  DEVICE void run(const Unit& unit, const Splits& splits, int l) {
    constexpr int E = LANES / 2;
    const int length = p.lengths[unit.row];
    const bool first = unit.split == 0 && c.warp == 0 && length > 0;
    float cosine[8], sine[8], x[GROUP][16], fresh[16], value[E];
    const u64 turn = (u64)p.positions[unit.row] * (DIM / 2) + 8 * j;
#pragma unroll
    for (int i = 0; i < 8; i++) cosine[i] = p.cosines[turn + i], sine[i] = p.sines[turn + i];
    const float* from = p.qkv + unit.row * QKV;
#pragma unroll
    for (int h = 0; h < GROUP; h++) fetch(x[h], from + (unit.head * GROUP + h) * DIM);
    if (first) {
      fetch(fresh, from + (HEADS + unit.head) * DIM);
#pragma unroll
      for (int i = 0; i < E; i += 2) {
        float2 v = load_fresh2(from + (HEADS + KV_HEADS + unit.head) * DIM + c.lane * E + i);
        value[i] = v.x, value[i + 1] = v.y;
      }
    }
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      rotate(q[h], x[h], cosine, sine);
      peak[h] = -INFINITY, sum[h] = 0;
#pragma unroll
      for (int i = 0; i < E; i++) out[h][i] = 0;
    }
    if (first) {
      u32 k[8];
      rotate(k, fresh, cosine, sine);
      newest(unit, k, value);
    }
    int left = length - 1 - unit.first_page * PAGE;
    left = left < unit.pages * PAGE ? left : unit.pages * PAGE;
    for (; left > 0; left -= TILE_PLACES) tile(left < TILE_PLACES ? left : TILE_PLACES);
    merge_warps(unit, splits, l);
  }

  DEVICE void merge_warps(const Unit& unit, const Splits& splits, int l) {
    constexpr int E = LANES / 2;
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float* to = s.merge + (c.warp * GROUP + h) * (DIM + 2);
      float all = sum[h];
#pragma unroll
      for (int mask = LANES; mask < 32; mask *= 2) all += shuffle_xor(all, mask);
      if (c.lane == 0) to[DIM] = peak[h], to[DIM + 1] = all;
#pragma unroll
      for (int i = 0; i < E; i++) to[c.lane * E + i] = out[h][i];
    }
    barrier(1, CONSUMERS);
    for (int i = thread(); i < GROUP * DIM; i += CONSUMERS) {
      const int h = i / DIM, d = i % DIM, head = unit.head * GROUP + h;
      const float* from = s.merge + h * (DIM + 2);
      float most = -INFINITY, all = 0, mixed = 0;
#pragma unroll
      for (int w = 0; w < WARPS; w++) most = fmaxf(most, from[w * GROUP * (DIM + 2) + DIM]);
      float base = most == -INFINITY ? 0 : most;
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        const float* part = from + w * GROUP * (DIM + 2);
        float fade = exp2_fast(part[DIM] - base);
        mixed += part[d] * fade;
        all += part[DIM + 1] * fade;
      }
      if (splits.count == 1) {
        store(unit.row, head, d, mixed, all);
      } else {
        int at = (unit.row * SPLITS + unit.split) * HEADS + head;
        p.shares[(u64)at * DIM + d] = mixed;
        if (d == 0) p.peaks[2 * at] = base, p.peaks[2 * at + 1] = all;
      }
    }
    barrier(1, CONSUMERS);
    if (splits.count > 1 && !splits.direct) {
      if (thread() == 0) {
        u32 ticket = take_ticket(p.counters + (TICKETS + unit.row * KV_HEADS + unit.head) * FIRSTS);
        *s.last = ticket == (u32)((l + 1) * splits.count - 1);
      }
      barrier(1, CONSUMERS);
      if (!*s.last) return;
      merge_splits(unit, splits.count);
      barrier(1, CONSUMERS);
    }
    if (thread() == 0) signal(p.counters + MIXED_DONE * FIRSTS);
  }

  // What the last block of a head does: all shares, in order.
  DEVICE void merge_splits(const Unit& unit, int count) {
    for (int i = thread(); i < GROUP * DIM; i += CONSUMERS) {
      const int d = i % DIM, head = unit.head * GROUP + i / DIM;
      float x[SPLITS], most = -INFINITY, all = 0, mixed = 0;
      float2 peaks[SPLITS];
#pragma unroll
      for (int n = 0; n < SPLITS; n++)
        if (n < count) {
          int at = (unit.row * SPLITS + n) * HEADS + head;
          x[n] = load_fresh(p.shares + (u64)at * DIM + d);
          peaks[n] = load_fresh2(p.peaks + 2 * at);
        }
#pragma unroll
      for (int n = 0; n < SPLITS; n++)
        if (n < count && peaks[n].y > 0) most = fmaxf(most, peaks[n].x);
#pragma unroll
      for (int n = 0; n < SPLITS; n++)
        if (n < count && peaks[n].y > 0) {
          float fade = exp2_fast(peaks[n].x - most);
          mixed += x[n] * fade;
          all += peaks[n].y * fade;
        }
      store(unit.row, head, d, mixed, all);
    }
  }
  DEVICE void store(int row, int head, int d, float mixed, float all) const {
    p.mixed[row * MIXED + head * DIM + d] = (u16)pack(all > 0 ? mixed / all : 0, 0);
  }
};

// The attention output as activations, merged from a few shares on the way.
template <int CHUNK>
DEVICE void load_shares(Consumer& c, Activations<CHUNK>& a, int column, int count) {
  const Arguments& p = c.p;
#pragma unroll
  for (int i = 0; i < steps(CHUNK); i++)
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
      const int k = c.block_of(i, c.slice(j)) * 32, row = c.row_of_column();
      a.x[i][j] = make_uint4(0, 0, 0, 0);
      if (k >= CHUNK || row >= p.rows) continue;
      const int at = column + k + c.t * 8, head = at / DIM, d = at % DIM;
      float4 x[DIRECT][2];
      float2 peaks[DIRECT];
#pragma unroll
      for (int n = 0; n < DIRECT; n++)
        if (n < count) {
          int from = (row * SPLITS + n) * HEADS + head;
          peaks[n] = load_fresh2(p.peaks + 2 * from);
          x[n][0] = load_fresh4(p.shares + (u64)from * DIM + d);
          x[n][1] = load_fresh4(p.shares + (u64)from * DIM + d + 4);
        }
      float most = -INFINITY, all = 0, v[8] = {0, 0, 0, 0, 0, 0, 0, 0};
#pragma unroll
      for (int n = 0; n < DIRECT; n++)
        if (n < count && peaks[n].y > 0) most = fmaxf(most, peaks[n].x);
#pragma unroll
      for (int n = 0; n < DIRECT; n++)
        if (n < count && peaks[n].y > 0) {
          float fade = exp2_fast(peaks[n].x - most);
          all += peaks[n].y * fade;
          v[0] += x[n][0].x * fade, v[1] += x[n][0].y * fade, v[2] += x[n][0].z * fade, v[3] += x[n][0].w * fade;
          v[4] += x[n][1].x * fade, v[5] += x[n][1].y * fade, v[6] += x[n][1].z * fade, v[7] += x[n][1].w * fade;
        }
      float by = all > 0 ? 1 / all : 0;
      a.x[i][j] = make_uint4(pack(v[0] * by, v[1] * by), pack(v[2] * by, v[3] * by), pack(v[4] * by, v[5] * by),
                             pack(v[6] * by, v[7] * by));
    }
}
