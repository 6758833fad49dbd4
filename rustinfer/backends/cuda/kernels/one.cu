// The product of one activation row with a matrix in bf16, and what stands before and behind it: see docs/notes/gpu-engine.md.
// Each warp has a ring of its own in shared memory, through which its rows of weights stream, EACH at once. Weights depend on
// nothing, so they come from the start, whatever the kernel in front is doing; the row is read when that has ended.
#define CLUSTER 1
#include "group.cuh"

// With NORM, the row is normalised first. With HEADS, queries and keys are rotated, and keys and values go into the cache;
// GATED, outputs are silu(gate) * up.
constexpr int NEAR = EACH / 2;                  // rows side by side; as many more lie FAR behind them
constexpr int HALF = DIM / 2;
constexpr int FAR = GATED ? OUTPUTS / 2 : HEADS ? HALF : NEAR;
constexpr int GROUPS = OUTPUTS / EACH;
constexpr int STAGE = EACH * CHUNK * 2;         // bytes
constexpr int STEPS = COLUMNS / CHUNK;
constexpr int THREADS = WARPS * 32;
constexpr int PIECES = COLUMNS / 8;             // of the row, 16 bytes each
constexpr int PER = (PIECES + THREADS - 1) / THREADS;

struct Arguments {
  const u16 *x, *residual, *norm, *weight, *bias;
  u16 *total, *out;
  const i64 *positions, *slots;
  u16 *keys, *values;
  const float *cosines, *sines;
  i64 page_stride, head_stride, slot_stride;
  float eps;
  int unused;
};

DEVICE float silu(float v) { return v / (1.0f + exp_fast(-v)); }
DEVICE u16 narrow(float v) { return (u16)pack(v, 0.0f); }
DEVICE float number(u16 bits) { return as_float((u32)bits << 16); }

DEVICE void spread(float (&v)[8], uint4 pairs) {
  v[0] = low(pairs.x), v[1] = high(pairs.x), v[2] = low(pairs.y), v[3] = high(pairs.y);
  v[4] = low(pairs.z), v[5] = high(pairs.z), v[6] = low(pairs.w), v[7] = high(pairs.w);
}
DEVICE uint4 packed(const float (&v)[8]) {
  return make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
}

// A warp's groups of rows: neighbours are other blocks', so that each block has as much to do as any other.
struct Ring {
  const u16* weight;
  u8* base;
  u64* full;
  int first, steps;

  DEVICE int group(int step) const { return first + step / STEPS * (BLOCKS * WARPS); }
  DEVICE static int row(int group) {
    return HEADS ? group / (HALF / NEAR) * DIM + group % (HALF / NEAR) * NEAR : GATED ? group * NEAR : group * EACH;
  }
  DEVICE void copy(int step, u64 policy) const {
    int slot = step % STAGES;
    const u16* from = weight + (i64)row(group(step)) * COLUMNS + step % STEPS * CHUNK;
    mbar_expect(full + slot, STAGE);
#pragma unroll
    for (int j = 0; j < EACH; j++)
      bulk_copy_once(base + slot * STAGE + j * CHUNK * 2, from + (i64)(j % NEAR + j / NEAR * FAR) * COLUMNS, CHUNK * 2,
                     full + slot, policy);
  }
};

// A thread's n-th piece of the row, and whether there is one.
DEVICE int piece(int n) { return thread() + n * THREADS; }
DEVICE bool there(int n) { return PIECES % THREADS == 0 || piece(n) < PIECES; }
DEVICE void load(uint4 (&to)[PER], const u16* from) {
#pragma unroll
  for (int n = 0; n < PER; n++)
    if (there(n)) to[n] = ((const uint4*)from)[piece(n)];
}
DEVICE void store(uint4* to, const uint4 (&from)[PER]) {
#pragma unroll
  for (int n = 0; n < PER; n++)
    if (there(n)) to[piece(n)] = from[n];
}

// x + residual, rounded; returns this thread's squares.
DEVICE float add(uint4 (&x)[PER], const uint4 (&residual)[PER]) {
  float squares = 0, v[8], r[8];
#pragma unroll
  for (int n = 0; n < PER; n++) {
    if (!there(n)) continue;
    spread(v, x[n]), spread(r, residual[n]);
    for (int i = 0; i < 8; i++) v[i] += r[i];
    x[n] = packed(v), spread(v, x[n]);
    for (int i = 0; i < 8; i++) squares += v[i] * v[i];
  }
  return squares;
}

// The sum over the block's threads, in every thread.
DEVICE float all_threads(float v, float* sums) {
#pragma unroll
  for (int mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
  if (thread() % 32 == 0) sums[thread() / 32] = v;
  block_barrier();
  v = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) v += sums[w];
  return v;
}

// Rounded where the op says.
DEVICE void normalise(uint4 (&x)[PER], const uint4 (&norm)[PER], float inverse) {
  float v[8], s[8];
#pragma unroll
  for (int n = 0; n < PER; n++) {
    if (!there(n)) continue;
    spread(v, x[n]), spread(s, norm[n]);
    for (int i = 0; i < 8; i++) v[i] *= inverse;
    spread(v, packed(v));
    for (int i = 0; i < 8; i++) v[i] *= s[i];
    x[n] = packed(v);
  }
}

// The row in shared memory, normalised if it must be. Block 0 writes the sum that is the next residual.
DEVICE void load_row(const Arguments& a, uint4* row, float* sums) {
  uint4 x[PER];
#if NORM
  uint4 norm[PER], residual[PER];
  load(norm, a.norm);
  wait_for_predecessor();
  load(x, a.x), load(residual, a.residual);
  float squares = add(x, residual);
  if (block() == 0) store((uint4*)a.total, x);
  normalise(x, norm, rsqrtf(all_threads(squares, sums) / COLUMNS + a.eps));
#else
  wait_for_predecessor();
  load(x, a.x);
#endif
  store(row, x);
  block_barrier();
}

DEVICE void multiply(float (&sums)[EACH], const u8* stage, const uint4* row) {
  int lane = thread() % 32;
#pragma unroll
  for (int n = 0; n < CHUNK / 256; n++) {
    float x[8], w[8];
    spread(x, row[n * 32 + lane]);
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      spread(w, ((const uint4*)(stage + j * CHUNK * 2))[n * 32 + lane]);
#pragma unroll
      for (int i = 0; i < 8; i++) sums[j] += w[i] * x[i];
    }
  }
}

// A lane for each row, or for each pair of rows.
DEVICE float chosen(const float (&sums)[EACH], int j) {
  float v = sums[0];
#pragma unroll
  for (int i = 1; i < EACH; i++) v = i == j ? sums[i] : v;
  return v;
}

#if HEADS
// What a lane's two sums wait for, asked for while their weights arrive: the angle they are turned by, and where they go.
struct Place {
  float cosine = 1.0f, sine = 0.0f;
  i64 slot;

  DEVICE Place(const Arguments& a, int group) {
    int n = Ring::row(group) + thread() % 32;
    slot = a.slots[0];
    if (thread() % 32 >= NEAR || n >= (HEADS + KV_HEADS) * DIM) return;
    i64 at = a.positions[0] * HALF + n % DIM;
    cosine = a.cosines[at], sine = a.sines[at];
  }
};

DEVICE void finish(const Arguments& a, const float (&sums)[EACH], int group, const Place& to) {
  int lane = thread() % 32;
  if (lane >= NEAR) return;
  int n = Ring::row(group) + lane, head = n / DIM;
  float first = chosen(sums, lane), second = chosen(sums, lane + NEAR);
  if (a.bias) first += number(a.bias[n]), second += number(a.bias[n + HALF]);
  u16* out = a.out + n;
  if (head >= HEADS) {
    if (to.slot < 0) return;
    out = (head < HEADS + KV_HEADS ? a.keys : a.values) + to.slot / PAGE * a.page_stride +
          (head - HEADS) % KV_HEADS * a.head_stride + to.slot % PAGE * a.slot_stride + n % DIM;
  }
  out[0] = narrow(first * to.cosine - second * to.sine), out[HALF] = narrow(second * to.cosine + first * to.sine);
}
#else
struct Place {
  DEVICE Place(const Arguments&, int) {}
};

DEVICE void finish(const Arguments& a, const float (&sums)[EACH], int group, const Place&) {
  int lane = thread() % 32, n = Ring::row(group) + lane;
  if (lane >= (GATED ? NEAR : EACH)) return;
  float sum = chosen(sums, lane);
  if (GATED) {
    a.out[n] = narrow(silu(sum) * chosen(sums, lane + NEAR));
  } else {
    a.out[n] = narrow(a.bias ? sum + number(a.bias[n]) : sum);
  }
}
#endif

KERNEL(THREADS) one(const __grid_constant__ Arguments a) {
  u8* base = shared_base();
  uint4* row = (uint4*)(base + WARPS * STAGES * STAGE);
  u64* barriers = (u64*)(row + PIECES);
  float* sums = (float*)(barriers + WARPS * STAGES);
  int warp = thread() / 32, first = warp * BLOCKS + block(), groups = (GROUPS - first + BLOCKS * WARPS - 1) / (BLOCKS * WARPS);
  Ring ring = {a.weight, base + warp * STAGES * STAGE, barriers + warp * STAGES, first, groups * STEPS};
  let_successor_begin();
  u64 policy = read_once();
  if (thread() % 32 == 0) {
    for (int i = 0; i < STAGES; i++) mbar_init(ring.full + i, 1);
    mbars_visible();
    for (int step = 0; step < STAGES && step < ring.steps; step++) ring.copy(step, policy);
  }
  load_row(a, row, sums);
  for (int step = 0; step < ring.steps;) {
    int group = ring.group(step);
    Place to(a, group);
    float acc[EACH] = {};
    for (int part = 0; part < STEPS; part++, step++) {
      int slot = step % STAGES;
      while (!mbar_passed(ring.full + slot, step / STAGES)) {}
      multiply(acc, ring.base + slot * STAGE, row + part * (CHUNK / 8));
      warp_barrier();
      if (thread() % 32 == 0 && step + STAGES < ring.steps) ring.copy(step + STAGES, policy);
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) {
#pragma unroll
      for (int mask = 16; mask; mask /= 2) acc[j] += shuffle_xor(acc[j], mask);
    }
    finish(a, acc, group, to);
  }
}
