// The product of up to 64 activation rows with a matrix in bf16, and what follows it: see docs/notes/gpu-engine.md.
// A cluster of SPLITS blocks makes TILES * 64 outputs of each row, a share of the columns each. Weights depend on nothing,
// so they stream from the start, whatever the kernel in front is doing; activations follow when it has ended.
#define CLUSTER SPLITS
#include "group.cuh"

DEVICE int share() { return block() % SPLITS; }
DEVICE int block_of_outputs() { return block() / SPLITS; }

// With HEADS, queries and keys are rotated, and keys and values go into the cache; GATED, outputs are silu(gate) * up.
// A norm between two products is shared by them: its factor of a row is not known before all of the row is. In front of it
// (NORM 1) the outputs are added to the residual; out come that sum, the sum times the norm's weight, and the squares of each
// 64 outputs. Behind it (NORM 2) x are such rows, and a row's sums are multiplied by the factor that its squares give.
constexpr int BAND = 64;                       // columns of a step: 128 bytes, the widest swizzle
constexpr int TILE = 64 * BAND * 2;            // bytes of 64 weight rows
constexpr int STAGE = TILES * TILE + ROWS * BAND * 2;
constexpr int STEPS = COLUMNS / SPLITS / BAND;
constexpr int WIDE = TILES * 64;               // outputs of a block
constexpr int PER = ROWS / SPLITS;             // rows that a block finishes
constexpr int LINE = WIDE + 4;                 // floats between rows of sums: no two of a warp's in one bank
constexpr int SUMS = ROWS * LINE * 4;          // bytes
constexpr int RING = STAGES * STAGE > SUMS ? STAGES * STAGE : SUMS;
constexpr int AHEAD = STAGES < STEPS ? STAGES : STEPS;
constexpr int WARPS = 4;                       // that multiply; one more copies
constexpr int THREADS = (WARPS + 1) * 32;

struct Arguments {
  Map weight, x;
  const u16* bias;
  u16* out;
  const i64* positions;
  const i64* slots;
  u16 *keys, *values;
  const float *cosines, *sines;
  i64 page_stride, head_stride, slot_stride;
  int rows;
  float eps;
  const u16 *residual, *norm;
  u16* total;
  float* squares;  // [rows][64 outputs each]
};

DEVICE float silu(float v) { return v / (1.0f + exp_fast(-v)); }
DEVICE float number(u16 bits) { return as_float((u32)bits << 16); }

struct Ring {
  u8* base;
  u64 *full, *empty;
};

// The first weight row of a tile.
DEVICE int first_row(int tile) {
  return GATED ? tile * (OUTPUTS / 2) + block_of_outputs() * 64 : (block_of_outputs() * TILES + tile) * 64;
}

DEVICE void copy_weights(const Arguments& a, const Ring& ring, int step, u64 policy) {
  int slot = step % STAGES;
  mbar_expect(ring.full + slot, STAGE);
  for (int t = 0; t < TILES; t++)
    tensor_copy_once(ring.base + slot * STAGE + t * TILE, &a.weight, (share() * STEPS + step) * BAND, first_row(t),
                     ring.full + slot, policy);
}

DEVICE void copy_rows(const Arguments& a, const Ring& ring, int step) {
  int slot = step % STAGES;
  tensor_copy(ring.base + slot * STAGE + TILES * TILE, &a.x, (share() * STEPS + step) * BAND, 0, ring.full + slot);
}

DEVICE void produce(const Arguments& a, const Ring& ring) {
  u64 policy = read_once();
  for (int step = 0; step < AHEAD; step++) copy_weights(a, ring, step, policy);
  wait_for_predecessor();
  for (int step = 0; step < AHEAD; step++) copy_rows(a, ring, step);
  for (int step = AHEAD; step < STEPS; step++) {
    while (!mbar_passed(ring.empty + step % STAGES, step / STAGES - 1)) {}
    copy_weights(a, ring, step, policy);
    copy_rows(a, ring, step);
  }
}

DEVICE void multiply(float (&sums)[TILES][ROWS / 2], const Ring& ring) {
  for (int step = 0; step < STEPS; step++) {
    int slot = step % STAGES;
    while (!mbar_passed(ring.full + slot, step / STAGES)) {}
    u64 weights = matrix(ring.base + slot * STAGE), x = matrix(ring.base + slot * STAGE + TILES * TILE);
    group_fence();
#pragma unroll
    for (int k = 0; k < BAND / 16; k++)
#pragma unroll
      for (int t = 0; t < TILES; t++) group_multiply(sums[t], weights + t * (TILE >> 4) + 2 * k, x + 2 * k);
    group_done();
    if (thread() % 32 == 0) mbar_arrive(ring.empty + slot);
  }
}

// Each row's sums go to the block of the cluster that finishes it, in a place for each share: into the ring first, which nobody
// needs any more, in the order of rows, and from there in one copy for each block, which `come` counts there.
DEVICE void hand_out(const float (&sums)[TILES][ROWS / 2], const Ring& ring, float* places, u64* come) {
  int warp = thread() / 32, lane = thread() % 32;
  float* mine = (float*)ring.base;
  barrier(1, WARPS * 32);
#pragma unroll
  for (int j = 0; j < ROWS / 8; j++)
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
      for (int q = 0; q < 4; q++)
        mine[(8 * j + 2 * (lane % 4) + q % 2) * LINE + t * 64 + warp * 16 + lane / 4 + q / 2 * 8] = sums[t][4 * j + q];
  shared_fence();
  barrier(1, WARPS * 32);
  if (thread() < SPLITS)
    copy_there(shared_of(places + share() * PER * LINE, thread()), mine + thread() * PER * LINE, PER * LINE * 4,
               shared_of(come, thread()));
}

// What a warp asks for before it multiplies.
constexpr int MINE = PER / WARPS;  // rows of a warp that finishes whole rows
#if NORM == 1
static_assert(TILES == 1 && PER % WARPS == 0, "a warp has a whole row of the block's outputs");
struct Early {
  u32 residual[MINE], norm;
  DEVICE Early(const Arguments& a) {
    int n = block_of_outputs() * WIDE + thread() % 32 * 2;
    norm = *(const u32*)(a.norm + n);
#pragma unroll
    for (int j = 0; j < MINE; j++) {
      int m = share() * PER + j * WARPS + thread() / 32;
      residual[j] = m < a.rows ? *(const u32*)(a.residual + (i64)m * OUTPUTS + n) : 0;
    }
  }
};
#elif HEADS
constexpr int HALF = DIM / 2, QUARTERS = PER * WIDE / 4, EACH = (QUARTERS + WARPS * 32 - 1) / (WARPS * 32);
struct Early {
  float2 cosines[EACH], sines[EACH];
  i64 slots[EACH];
  DEVICE Early(const Arguments& a) {
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      int i = e * WARPS * 32 + thread(), m = share() * PER + i / (WIDE / 4), at = i % (WIDE / 4) * 2 % HALF;
      bool there = i < QUARTERS && m < a.rows;
      i64 turn = (there ? a.positions[m] : 0) * HALF + at;
      slots[e] = there ? a.slots[m] : -1;
      cosines[e] = *(const float2*)(a.cosines + turn), sines[e] = *(const float2*)(a.sines + turn);
    }
  }
};
#else
struct Early {
  DEVICE Early(const Arguments&) {}
};
#endif

DEVICE float sum_of_lanes(float v) {
#pragma unroll
  for (int mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}

// The norm's factors of the rows that this block finishes. Of rows that are not there they are anything.
DEVICE void find_factors(const Arguments& a, float* factors) {
  constexpr int PARTS = COLUMNS / 64;
  int warp = thread() / 32, lane = thread() % 32;
  float sums[MINE] = {};
#pragma unroll
  for (int j = 0; j < MINE; j++)
#pragma unroll
    for (int part = 0; part < PARTS; part += 32)
      if (part + lane < PARTS) sums[j] += a.squares[(share() * PER + j * WARPS + warp) * PARTS + part + lane];
#pragma unroll
  for (int j = 0; j < MINE; j++) {
    float squares = sum_of_lanes(sums[j]);
    if (lane == 0) factors[j * WARPS + warp] = rsqrtf(squares / COLUMNS + a.eps);
  }
}

// Two neighbouring sums over all shares, in their order. The factors lie behind all places.
DEVICE float2 total(const float* places, int row, int column) {
  float2 sum = {0.0f, 0.0f};
#pragma unroll
  for (int s = 0; s < SPLITS; s++) {
    float2 part = *(const float2*)(places + (s * PER + row) * LINE + column);
    sum.x += part.x;
    sum.y += part.y;
  }
#if NORM == 2
  float factor = (places + ROWS * LINE)[row];
  sum.x *= factor, sum.y *= factor;
#endif
  return sum;
}

DEVICE void put(u16* to, float a, float b) { *(u32*)to = pack(a, b); }

#if GATED
DEVICE void finish(const Arguments& a, const float* places, const Early&) {
  for (int i = thread(); i < PER * 32; i += WARPS * 32) {
    int row = i / 32, column = i % 32 * 2, m = share() * PER + row;
    if (m >= a.rows) return;
    float2 gate = total(places, row, column), up = total(places, row, column + 64);
    put(a.out + (i64)m * (OUTPUTS / 2) + block_of_outputs() * 64 + column, silu(gate.x) * up.x, silu(gate.y) * up.y);
  }
}
#elif NORM == 1
DEVICE void finish(const Arguments& a, const float* places, const Early& early) {
  int column = thread() % 32 * 2, n = block_of_outputs() * WIDE + column;
  u32 both[MINE];
  float squares[MINE];
#pragma unroll
  for (int j = 0; j < MINE; j++) {  // all of them before any is written, so that their lanes are summed side by side
    float2 sum = total(places, j * WARPS + thread() / 32, column);
    if (a.bias) sum.x += number(a.bias[n]), sum.y += number(a.bias[n + 1]);
    both[j] = pack(sum.x + low(early.residual[j]), sum.y + high(early.residual[j]));
    squares[j] = sum_of_lanes(low(both[j]) * low(both[j]) + high(both[j]) * high(both[j]));
  }
#pragma unroll
  for (int j = 0; j < MINE; j++) {
    int m = share() * PER + j * WARPS + thread() / 32;
    if (m >= a.rows) return;
    *(u32*)(a.total + (i64)m * OUTPUTS + n) = both[j];
    *(u32*)(a.out + (i64)m * OUTPUTS + n) = times(both[j], early.norm);
    if (thread() % 32 == 0) a.squares[(i64)m * (OUTPUTS / 64) + block_of_outputs()] = squares[j];
  }
}
#elif HEADS == 0
DEVICE void finish(const Arguments& a, const float* places, const Early&) {
  for (int i = thread(); i < PER * WIDE / 2; i += WARPS * 32) {
    int row = i / (WIDE / 2), column = i % (WIDE / 2) * 2, m = share() * PER + row;
    if (m >= a.rows) return;
    float2 sum = total(places, row, column);
    int n = block_of_outputs() * WIDE + column;
    if (a.bias) sum.x += number(a.bias[n]), sum.y += number(a.bias[n + 1]);
    put(a.out + (i64)m * OUTPUTS + n, sum.x, sum.y);
  }
}
#else
DEVICE void finish(const Arguments& a, const float* places, const Early& early) {
#pragma unroll
  for (int e = 0; e < EACH; e++) {
    int i = e * WARPS * 32 + thread(), row = i / (WIDE / 4), m = share() * PER + row;
    if (i >= QUARTERS || m >= a.rows) return;
    int pair = i % (WIDE / 4) * 2, at = pair % HALF, local = pair / HALF;  // at and at + HALF of one of the block's heads
    int head = block_of_outputs() * (WIDE / DIM) + local, n = head * DIM + at;
    float2 low = total(places, row, local * DIM + at), high = total(places, row, local * DIM + at + HALF);
    if (a.bias) {
      low.x += number(a.bias[n]), low.y += number(a.bias[n + 1]);
      high.x += number(a.bias[n + HALF]), high.y += number(a.bias[n + HALF + 1]);
    }
    if (head < HEADS + KV_HEADS) {
      float2 c = early.cosines[e], s = early.sines[e];
      float2 turned = {low.x * c.x - high.x * s.x, low.y * c.y - high.y * s.y};
      high = {high.x * c.x + low.x * s.x, high.y * c.y + low.y * s.y};
      low = turned;
    }
    u16* to = a.out + ((i64)m * HEADS + head) * DIM + at;
    if (head >= HEADS) {
      i64 slot = early.slots[e];
      if (slot < 0) continue;
      to = (head < HEADS + KV_HEADS ? a.keys : a.values) + slot / PAGE * a.page_stride +
           (head - HEADS) % KV_HEADS * a.head_stride + slot % PAGE * a.slot_stride + at;
    }
    put(to, low.x, low.y);
    put(to + HALF, high.x, high.y);
  }
}
#endif

KERNEL(THREADS) few(const __grid_constant__ Arguments a) {
  u8* base = shared_base() + (1024 - shared_address(shared_base()) % 1024) % 1024;
  float* places = (float*)(base + RING);
  float* factors = places + ROWS * LINE;
  u64* barriers = (u64*)(factors + (NORM == 2 ? ROWS : 0));
  Ring ring = {base, barriers, barriers + STAGES};
  u64* come = barriers + 2 * STAGES;  // passed when all shares' sums are here
  let_successor_begin();
  if (thread() == WARPS * 32) {
    for (int i = 0; i < STAGES; i++) mbar_init(ring.full + i, 1), mbar_init(ring.empty + i, WARPS);
    mbar_init(come, 1);
    mbars_visible();
    mbar_expect(come, SUMS);
  }
  block_barrier();
  cluster_arrive_relaxed();  // whoever waits for it knows that all blocks' shared memory may be written
  if (thread() >= WARPS * 32) {
    if (thread() == WARPS * 32) produce(a, ring);
    warp_barrier();
    cluster_wait();
    cluster_arrive_relaxed();
    cluster_wait();
    return;
  }
  float sums[TILES][ROWS / 2] = {};
  wait_for_predecessor();
  Early early(a);
  if (NORM == 2) find_factors(a, factors);
  multiply(sums, ring);
  cluster_wait();
  hand_out(sums, ring, places, come);
  while (!mbar_passed(come, 0)) {}
  finish(a, places, early);
  warp_barrier();
  cluster_arrive_relaxed();  // nobody ends while others read its shared memory
  cluster_wait();
}
