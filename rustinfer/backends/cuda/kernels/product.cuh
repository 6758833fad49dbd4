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
  int warp, lane, g, t;  // g, t: the lane's row (or column) and its quarter in a matrix instruction
  int tile, gate, half;  // half: which half of `parts` is being filled

  DEVICE Consumer(const Arguments& p, const Shared& s) : p(p), s(s), tile(0), gate(0), half(0) { begin(); }

  // The start of a stage.
  DEVICE void begin() {
    const int i = thread_anew();
    warp = i / 32, lane = i % 32, g = lane / 4, t = lane % 4;
  }

  DEVICE void pass_gate() {
    await(p, s.ready + gate % READY, gate / READY & 1, S_READY);
    gate++;
  }
  DEVICE bool gate_open() const { return all_lanes(mbar_passed(s.ready + gate % READY, gate / READY & 1)); }
  DEVICE const u8* next_tile() {
    int at = tile % SLOTS;
    await(p, s.full + at, tile / SLOTS & 1, S_RING_FULL);
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

  // Activations that are bf16 already: [rows][stride], from `column` on.
  template <int CHUNK>
  DEVICE void load(Activations<CHUNK>& a, const u16* from, int stride, int column) {
#pragma unroll
    for (int i = 0; i < steps(CHUNK); i++)
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        int k = block_of(i, slice(j)) * 32;
        bool valid = k < CHUNK && row_of_column() < p.rows;
        a.x[i][j] = make_uint4(0, 0, 0, 0);
        if (valid) a.x[i][j] = load_fresh8(from + row_of_column() * stride + column + k + t * 8);
      }
  }

  // The residual stream's rows, normalised, rounded, weighted. The first layer's stream is the embedding.
  template <int K, int CHUNK>
  DEVICE void load_normed(Activations<CHUNK> (&a)[K / CHUNK], const float* from, bool embedded, const u16* norm) {
    constexpr int N = K / CHUNK, S = steps(CHUNK);
    constexpr bool EARLY = N * S * GROUPS <= 6;  // the weights can wait in registers
    float4 h[N][S][GROUPS][2];
    uint4 w[N][S][GROUPS];
    const int row = row_of_column();
    if (EARLY) load_norm<N, S, CHUNK>(w, norm);
    if (!embedded) pass_gate();
    float squares = 0;
#pragma unroll
    for (int c = 0; c < N; c++)
#pragma unroll
      for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
          int k = block_of(i, slice(j)) * 32;
          float4(&v)[2] = h[c][i][j];
          v[0] = v[1] = make_float4(0, 0, 0, 0);
          if (k < CHUNK && row < p.rows) {
            k += c * CHUNK + t * 8;
            if (embedded) {
              uint4 e = *(const uint4*)(p.embedding + (u64)p.tokens[row] * K + k);
              v[0] = make_float4(low(e.x), high(e.x), low(e.y), high(e.y));
              v[1] = make_float4(low(e.z), high(e.z), low(e.w), high(e.w));
            } else {
              v[0] = load_fresh4(from + row * K + k);
              v[1] = load_fresh4(from + row * K + k + 4);
            }
          }
        }
#pragma unroll
    for (int c = 0; c < N; c++)
#pragma unroll
      for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
          for (int q = 0; q < 2; q++) {
            float4 v = h[c][i][j][q];
            squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
          }
    float scale = rsqrtf(row_sum(squares) / K + p.eps);
    if (!EARLY) load_norm<N, S, CHUNK>(w, norm);
#pragma unroll
    for (int c = 0; c < N; c++)
#pragma unroll
      for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
          uint4 v = w[c][i][j];
          float4 x = h[c][i][j][0], y = h[c][i][j][1];
          a[c].x[i][j] = make_uint4(weighted(x.x, x.y, scale, v.x), weighted(x.z, x.w, scale, v.y),
                                    weighted(y.x, y.y, scale, v.z), weighted(y.z, y.w, scale, v.w));
        }
  }
  template <int N, int S, int CHUNK>
  DEVICE void load_norm(uint4 (&w)[N][S][GROUPS], const u16* norm) const {
#pragma unroll
    for (int c = 0; c < N; c++)
#pragma unroll
      for (int i = 0; i < S; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
          int k = block_of(i, slice(j)) * 32;
          w[c][i][j] = make_uint4(0, 0, 0, 0);
          if (k < CHUNK) w[c][i][j] = *(const uint4*)(norm + c * CHUNK + k + t * 8);
        }
  }
  // As rms_norm does: rounded once before the weight and once after.
  DEVICE u32 weighted(float x, float y, float scale, u32 w) const {
    u32 n = pack(x * scale, y * scale);
    return pack(low(n) * low(w), high(n) * high(w));
  }
  // The sum over all lanes and warps whose column belongs to this lane's row of the batch.
  DEVICE float row_sum(float v) {
    v += shuffle_xor(v, 1);
    v += shuffle_xor(v, 2);
#pragma unroll
    for (int mask = 4 * COLUMNS; mask < 32; mask *= 2) v += shuffle_xor(v, mask);
    if (t == 0 && g < COLUMNS) s.sums[warp * 8 + g] = v;
    barrier(1, CONSUMERS);
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += s.sums[w * 8 + row_of_column()];
    return sum;
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
  // Tell the other blocks that `outputs` threads have written what they had to write; then fill the other half.
  DEVICE void flushed(int outputs, int counter) {
    int threads = outputs < CONSUMERS ? (outputs + 31) / 32 * 32 : CONSUMERS;
    threads = threads ? threads : 32;
    if (warp * 32 < threads) {
      barrier(2, threads);
      if (thread() == 0) signal(p.counters + counter * FIRSTS);
    }
    half ^= 1;
  }
};
