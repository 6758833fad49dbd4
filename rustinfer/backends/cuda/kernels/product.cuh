// Products of a block's rows with the activations, on the tensor cores, from tiles in the ring.
// A matrix instruction multiplies 16 x 16 weights by 16 x COLUMNS activations. Its 16 rows are 4 rows of the matrix times 4
// slices of K side by side; a slice meets its own activations in columns of its own, and the rest of what comes out is
// not looked at. So one row of activations keeps the whole width of the instruction busy, and eight rows need four.
#pragma once
#include "shape.cuh"

constexpr int steps(int chunk) { return (chunk / 32 + WARPS * SLICES - 1) / (WARPS * SLICES); }

// A lane's activations for one chunk of K: for each step and group eight neighbouring columns, as bf16.
template <int CHUNK>
struct Activations {
  uint4 x[steps(CHUNK)][GROUPS];
};

struct Consumer {
  const Arguments& p;
  const Shared& s;
  const u32 epoch;
  int warp, lane, g, t;  // g, t: the lane's row (or column) and its quarter in a matrix instruction
  int tile, half;        // half: which half of `parts` is being filled

  DEVICE Consumer(const Arguments& p, const Shared& s, u32 epoch) : p(p), s(s), epoch(epoch), tile(0), half(0) { begin(); }

  // The start of a stage.
  DEVICE void begin() {
    const int i = thread_anew();
    warp = i / 32, lane = i % 32, g = lane / 4, t = lane % 4;
  }
  DEVICE Exchange at(int layer) const { return exchange(p, epoch, layer); }

  DEVICE const u8* next_tile() {
    int at = tile % SLOTS;
    await(p, s.full + at, tile / SLOTS & 1, S_ARRIVAL);
    return s.ring + at * SLOT;
  }
  DEVICE void free_tile() {
    warp_barrier();
    if (lane == 0) mbar_arrive(s.empty + tile % SLOTS);
    tile++;
  }

  // Where lane (g, t) finds activations: column g is row `row_of_column` of the batch and slice `slice(group)` of K.
  DEVICE int row_of_column() const { return g % COLUMNS; }
  DEVICE int slice(int group) const { return group * (8 / COLUMNS) + g / COLUMNS; }
  DEVICE int block_of(int step, int slice) const { return (step * WARPS + warp) * SLICES + slice; }

  // Ask for activations that are bf16 already: [rows][stride], from `column` on.
  template <int CHUNK>
  DEVICE void ask(Words<steps(CHUNK) * GROUPS, true>& a, const u16* from, int stride, int column) {
#pragma unroll
    for (int i = 0; i < steps(CHUNK); i++)
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        int k = block_of(i, slice(j)) * 32;
        if (k < CHUNK && row_of_column() < p.rows)
          a.want(i * GROUPS + j, from + row_of_column() * stride + column + k + t * 8);
        else
          a.skip(i * GROUPS + j);
      }
    a.ask();
  }
  template <int CHUNK>
  DEVICE void take(Activations<CHUNK>& to, Words<steps(CHUNK) * GROUPS, true>& a, int stage, int layer) {
    a.receive(p, stage, layer);
#pragma unroll
    for (int i = 0; i < steps(CHUNK); i++)
#pragma unroll
      for (int j = 0; j < GROUPS; j++) to.x[i][j] = a.v[i * GROUPS + j];
  }

  // The residual stream's rows times the norm's weight. What the norm divides by is a factor of a whole row: the squares
  // are summed on the way, and `norm_scale` is applied to what comes out of the product.
  template <int K, int CHUNK>
  DEVICE void load_normed(Activations<CHUNK> (&a)[K / CHUNK], const float* from, const u16* norm, int stage, int layer) {
    constexpr int N = K / CHUNK, S = steps(CHUNK), ALL = N * S * GROUPS;
    constexpr bool EARLY = ALL <= 6;  // the weights can wait in registers
    const int row = row_of_column();
    Words<2 * ALL, false> h;
    uint4 w[ALL];
    if (EARLY) load_norm<N, S, CHUNK>(w, norm);
#pragma unroll
    for (int n = 0; n < ALL; n++) {
      int k = column<S, CHUNK>(n);
      h.skip(2 * n), h.skip(2 * n + 1);
      if (k < 0 || row >= p.rows) continue;
      if (from) {
        h.want(2 * n, from + row * K + k);
        h.want(2 * n + 1, from + row * K + k + 4);
      } else {  // the first layer's stream is the embedding
        uint4 e = *(const uint4*)(p.embedding + (u64)p.tokens[row] * K + k);
        h.v[2 * n] = make_uint4(e.x << 16, e.x & 0xffff0000u, e.y << 16, e.y & 0xffff0000u);
        h.v[2 * n + 1] = make_uint4(e.z << 16, e.z & 0xffff0000u, e.w << 16, e.w & 0xffff0000u);
      }
    }
    h.ask();
    h.receive(p, stage, layer);
    if (!EARLY) load_norm<N, S, CHUNK>(w, norm);
    float squares = 0;
#pragma unroll
    for (int n = 0; n < ALL; n++) {
      uint4 x = h.v[2 * n], y = h.v[2 * n + 1];
      a[n / (S * GROUPS)].x[n / GROUPS % S][n % GROUPS] =
          make_uint4(weighted(x.x, x.y, w[n].x, squares), weighted(x.z, x.w, w[n].y, squares),
                     weighted(y.x, y.y, w[n].z, squares), weighted(y.z, y.w, w[n].w, squares));
    }
    squares += shuffle_xor(squares, 1);
    squares += shuffle_xor(squares, 2);
#pragma unroll
    for (int mask = 4 * COLUMNS; mask < 32; mask *= 2) squares += shuffle_xor(squares, mask);
    if (t == 0 && g < COLUMNS) s.sums[warp * 8 + g] = squares;
  }
  // Where the n-th of a lane's eights begins in a row, or -1.
  template <int S, int CHUNK>
  DEVICE int column(int n) const {
    int k = block_of(n / GROUPS % S, slice(n % GROUPS)) * 32;
    return k < CHUNK ? n / (S * GROUPS) * CHUNK + k + t * 8 : -1;
  }
  template <int N, int S, int CHUNK>
  DEVICE void load_norm(uint4 (&w)[N * S * GROUPS], const u16* norm) const {
#pragma unroll
    for (int n = 0; n < N * S * GROUPS; n++) {
      int k = column<S, CHUNK>(n);
      w[n] = make_uint4(0, 0, 0, 0);
      if (k >= 0) w[n] = *(const uint4*)(norm + k);
    }
  }
  DEVICE static u32 weighted(u32 x, u32 y, u32 w, float& squares) {
    float a = as_float(x), b = as_float(y);
    squares += a * a + b * b;
    return pack(a * low(w), b * high(w));
  }
  // Once all warps have summed their squares.
  DEVICE float norm_scale(int row) const {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += s.sums[w * 8 + row];
    return rsqrtf(sum / WIDTH + p.eps);
  }

  // One tile: d[group] = this warp's part of four rows.
  template <int CHUNK>
  DEVICE void multiply(float (&d)[GROUPS][4], const u8* tile, const Activations<CHUNK>& a) const {
    const int k = block_of(0, g % SLICES) * 32;
    const u8* from = tile + ((g / SLICES) * CHUNK + k + t * 8) * 2;
#pragma unroll
    for (int j = 0; j < GROUPS; j++) d[j][0] = d[j][1] = d[j][2] = d[j][3] = 0;
#pragma unroll
    for (int i = 0; i < steps(CHUNK); i++) {
      constexpr int STRIDE = WARPS * SLICES * 32;
      uint4 top = make_uint4(0, 0, 0, 0), bottom = top;
      if (CHUNK % STRIDE == 0 || k + i * STRIDE < CHUNK) {
        top = *(const uint4*)(from + i * STRIDE * 2);
        bottom = *(const uint4*)(from + i * STRIDE * 2 + 2 * CHUNK * 2);
      }
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        mma(d[j], top.x, bottom.x, top.y, bottom.y, a.x[i][j].x, a.x[i][j].y);
        mma(d[j], top.z, bottom.z, top.w, bottom.w, a.x[i][j].z, a.x[i][j].w);
      }
    }
  }

  // Sum the slices, and put the warp's part of a tile's four rows (or add it) into `parts`.
  DEVICE void keep(float (&d)[GROUPS][4], int row, bool add) {
    constexpr int FIRST = COLUMNS == 2 ? 5 : COLUMNS == 4 ? 6 : 4, SECOND = COLUMNS == 2 ? 10 : 8;
    const int q = g / SLICES, mine = g % SLICES, group = mine * COLUMNS / 8;
    const bool valid = COLUMNS == 2 ? t == mine : COLUMNS == 4 ? t / 2 == mine % 2 : true;
    float v[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      v[e] = d[0][e];
#pragma unroll
      for (int j = 1; j < GROUPS; j++) v[e] = group == j ? d[j][e] : v[e];
      v[e] = valid ? v[e] : 0;
      if (ROWS == 1 && e % 2) continue;
      v[e] += shuffle_xor(v[e], FIRST);
      v[e] += shuffle_xor(v[e], SECOND);
    }
    if (mine || !valid) return;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int b = (COLUMNS == 8 ? 2 * t : COLUMNS == 4 ? 2 * (t % 2) : 0) + e % 2;
      if (ROWS == 1 && e % 2) continue;
      float* to = part(row + q + (e < 2 ? 0 : 2), b) + warp;
      *to = add ? *to + v[e] : v[e];
    }
  }
  DEVICE float* part(int row, int b) const { return s.parts + ((half * PARTS + row) * ROWS + b) * WARPS; }

  // All tiles of `rows` rows (pairs count twice) of one chunk.
  template <int CHUNK>
  DEVICE void product(int tiles, const Activations<CHUNK>& a, bool add) {
    int i = 0;
    for (; i + 1 < tiles; i += 2) {  // two at a time, so that the latencies of one hide behind the other
      float d[2][GROUPS][4];
      multiply<CHUNK>(d[0], next_tile(), a);
      free_tile();
      multiply<CHUNK>(d[1], next_tile(), a);
      free_tile();
      keep(d[0], i * TILE_ROWS, add);
      keep(d[1], (i + 1) * TILE_ROWS, add);
    }
    if (i < tiles) {
      float d[GROUPS][4];
      multiply<CHUNK>(d, next_tile(), a);
      free_tile();
      keep(d, i * TILE_ROWS, add);
    }
  }

  // The sum of all warps' parts of one row.
  DEVICE float total(int row, int b) const {
    const float4* from = (const float4*)part(row, b);
    float4 x = from[0], y = from[1];
    return ((x.x + x.y) + (x.z + x.w)) + ((y.x + y.y) + (y.z + y.w));
  }
};
