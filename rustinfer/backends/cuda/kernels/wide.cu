// Gate and up of 65 to 256 activation rows in bf16, and silu(gate) * up: see docs/notes/gpu-engine.md.
// A block makes WIDTH outputs, gates and ups in equal parts, of ROWS rows; its warp groups have the rows among them. A cluster
// is DOWN blocks of neighbouring rows by ALONG of neighbouring outputs, which read for each other what they have in common:
// what bounds the product is the way from L2 to the multiprocessors.
#define CLUSTER (DOWN * ALONG)
#include "group.cuh"

constexpr int BAND = 64;  // columns of a step: 128 bytes, the widest swizzle
constexpr int ROWS = GROUPS * 64;
constexpr int X = ROWS * BAND * 2, STAGE = X + WIDTH * BAND * 2;
constexpr int STEPS = COLUMNS / BAND;
constexpr int CLUSTERS = BLOCKS / CLUSTER, ITEMS = OUTPUTS / WIDTH / ALONG;  // an item is a tile for each block of a cluster
constexpr int SUMS = WIDTH / 2;          // of a thread, for 64 rows
constexpr int MULTIPLY = GROUPS * 128;   // threads
constexpr int THREADS = MULTIPLY + 32;   // one more warp copies

struct Arguments {
  Map weight, x;
  u16* out;
  int rows;
};

struct Ring {
  u8* base;
  u64 *full, *empty;
};

// A wait that ends the process rather than not at all.
DEVICE void reach(u64* b, u32 phase) {
  for (int tries = 0; !mbar_passed(b, phase); tries++)
    if (tries > 1 << 24) give_up();
}

DEVICE int down() { return block() % CLUSTER % DOWN; }
DEVICE int along() { return block() % CLUSTER / DOWN; }
DEVICE int tile_of(int n) { return (block() / CLUSTER + n / STEPS * CLUSTERS) * ALONG + along(); }
DEVICE int steps_in_all() { return (ITEMS - block() / CLUSTER + CLUSTERS - 1) / CLUSTERS * STEPS; }

// A part of the outputs for all blocks that have them, the same of the rows.
DEVICE void copy_weights(const Arguments& a, const Ring& ring, int n, u64 policy) {
  int slot = n % STAGES, row = tile_of(n) * WIDTH + down() * (WIDTH / DOWN);
  mbar_expect(ring.full + slot, STAGE);
  tensor_copy4_once_to_all(ring.base + slot * STAGE + X + down() * (WIDTH / DOWN * BAND * 2), &a.weight, n % STEPS * BAND,
                           row / 16, ring.full + slot, ((1 << DOWN) - 1) << along() * DOWN, policy);
}

DEVICE void copy_rows(const Arguments& a, const Ring& ring, int n) {
  int slot = n % STAGES, mask = 0;
  for (int i = 0; i < ALONG; i++) mask |= 1 << (i * DOWN + down());
  tensor_copy_to_all(ring.base + slot * STAGE + along() * (X / ALONG), &a.x, n % STEPS * BAND,
                     down() * ROWS + along() * (ROWS / ALONG), ring.full + slot, mask);
}

DEVICE void produce(const Arguments& a, const Ring& ring) {
  int all = steps_in_all(), ahead = STAGES < all ? STAGES : all;
  u64 policy = read_once();
  for (int n = 0; n < ahead; n++) copy_weights(a, ring, n, policy);
  wait_for_predecessor();
  for (int n = 0; n < ahead; n++) copy_rows(a, ring, n);
  for (int n = ahead; n < all; n++) {
    reach(ring.empty + n % STAGES, n / STAGES - 1);
    copy_weights(a, ring, n, policy);
    copy_rows(a, ring, n);
  }
}

// All blocks that write into this slot hear that it is free.
DEVICE void release(const Ring& ring, int n) {
  int lane = thread() % 32;
  if (lane < CLUSTER && (lane % DOWN == down() || lane / DOWN == along()))
    arrive_there(shared_of(ring.empty + n % STAGES, lane));
}

DEVICE void multiply(float (&sums)[SUMS], const Ring& ring, int begin) {
  int group = thread() / 128;
  for (int n = begin; n < begin + STEPS; n++) {
    int slot = n % STAGES;
    reach(ring.full + slot, n / STAGES);
    u64 x = matrix(ring.base + slot * STAGE) + group * 512, w = matrix(ring.base + slot * STAGE + X);
    group_fence();
#pragma unroll
    for (int k = 0; k < BAND / 16; k++) group_multiply(sums, x + 2 * k, w + 2 * k);
    group_commit();
    group_wait<1>();
    if (n > begin) release(ring, n - 1);
  }
  group_wait<0>();
  release(ring, begin + STEPS - 1);
}

DEVICE float silu(float v) { return v * reciprocal(1.0f + exp2_fast(-1.44269504f * v)); }
DEVICE u32 from_lane_beside(u32 v, int mask) { return as_bits(shuffle_xor(as_float(v), mask)); }

// Of four lanes each has a pair of each of four runs of eight; afterwards each has one run.
DEVICE uint4 run_of(const u32* v) {
  bool odd = thread() & 1, high = thread() & 2;
  u32 a = odd ? v[1] : v[0], b = odd ? v[3] : v[2];
  u32 c = from_lane_beside(odd ? v[0] : v[1], 1), d = from_lane_beside(odd ? v[2] : v[3], 1);
  uint2 low = odd ? make_uint2(c, a) : make_uint2(a, c), top = odd ? make_uint2(d, b) : make_uint2(b, d);
  u32 e = from_lane_beside(high ? low.x : top.x, 2), f = from_lane_beside(high ? low.y : top.y, 2);
  return high ? make_uint4(e, f, top.x, top.y) : make_uint4(low.x, low.y, e, f);
}

// Runs of eight numbers of a row, of which this thread has pairs.
template <int COUNT>
DEVICE void put(u16* to, const u32* v, bool there) {
  int lane = thread() % 4;
#pragma unroll
  for (int j = 0; j + 4 <= COUNT; j += 4) {
    uint4 run = run_of(v + j);
    if (there) *(uint4*)(to + 8 * (j + lane)) = run;
  }
#pragma unroll
  for (int j = COUNT / 4 * 4; j < COUNT; j++)
    if (there) *(u32*)(to + 8 * j + 2 * lane) = v[j];
}

// A thread has two neighbouring gates of each eight, and the ups of the same units beside them, of two rows.
DEVICE void finish(const Arguments& a, const float (&sums)[SUMS], int tile) {
  constexpr int RUNS = WIDTH / 16;
  int first = down() * ROWS + thread() / 32 * 16 + thread() % 32 / 4;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    u32 v[RUNS];
#pragma unroll
    for (int j = 0; j < RUNS; j++) {
      const float *gate = sums + 8 * j + 2 * r, *up = gate + 4;
      v[j] = pack(silu(gate[0]) * up[0], silu(gate[1]) * up[1]);
    }
    int m = first + 8 * r;
    put<RUNS>(a.out + (i64)m * (OUTPUTS / 2) + tile * (WIDTH / 2), v, m < a.rows);
  }
}

KERNEL(THREADS) wide(const __grid_constant__ Arguments a) {
  u8* base = shared_base() + (1024 - shared_address(shared_base()) % 1024) % 1024;
  u64* barriers = (u64*)(base + STAGES * STAGE);
  Ring ring = {base, barriers, barriers + STAGES};
  let_successor_begin();
  if (thread() == 0) {
    for (int i = 0; i < STAGES; i++)
      mbar_init(ring.full + i, 1), mbar_init(ring.empty + i, (DOWN + ALONG - 1) * GROUPS * 4);
    mbars_visible();
  }
  block_barrier();
  cluster_arrive();
  cluster_wait();
  if (thread() >= MULTIPLY) {
    if (thread() == MULTIPLY) produce(a, ring);
    warp_barrier();
  } else {
    wait_for_predecessor();
    int all = steps_in_all();
    for (int n = 0; n < all; n += STEPS) {
      float sums[SUMS] = {};
      multiply(sums, ring, n);
      finish(a, sums, tile_of(n));
    }
  }
  cluster_arrive();  // nobody ends while another may still write into its shared memory
  cluster_wait();
}
