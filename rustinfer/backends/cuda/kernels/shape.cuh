// The shape of the model and of the launch, the kernel's one argument, and who does what share of a product.
// Set from outside (plan.py): GRID ROWS WIDTH HIDDEN HEADS KV_HEADS DIM LAYERS PAGE, the chunks WIDTH_CHUNK MIXED_CHUNK
// HIDDEN_CHUNK, the ring's SLOTS SLOT AHEAD, PARTS (rows of the largest share), SPLITS and DIRECT, LIMIT, MARKS.
#pragma once
#include "ptx.cuh"

constexpr int WARPS = 8, CONSUMERS = WARPS * 32, PRODUCER = WARPS, SCOUT = WARPS + 1, THREADS = (WARPS + 4) * 32;
constexpr int TILE_ROWS = 4, SLICES = 4;  // a tile's rows, and the pieces of K side by side in one matrix instruction
constexpr int COLUMNS = ROWS < 2 ? 2 : ROWS, GROUPS = COLUMNS / 2;  // activation columns; instructions for each weight
constexpr int MIXED = HEADS * DIM, QKV = (HEADS + 2 * KV_HEADS) * DIM, GROUP = HEADS / KV_HEADS;
constexpr int CHUNKS = HIDDEN / HIDDEN_CHUNK;  // gate/up is flushed, and down begun, by chunks of the hidden units
constexpr int READY = 16;                      // waits that the scout may be ahead
constexpr int LANES = DIM / 16, PLACES = 32 / LANES, TILE_PLACES = PLACES * WARPS, TILE_PAGES = TILE_PLACES / PAGE;
constexpr int FIRSTS = 128 / 4;  // counters stand on lines of their own
static_assert(TILE_PAGES >= 1 && TILE_PAGES * PAGE == TILE_PLACES, "a tile of keys holds whole pages");
static_assert(GROUP <= 4, "a warp keeps the queries of four heads");

enum Counter { QKV_DONE, MIXED_DONE, MIDDLE_DONE, LAYER_DONE, FINISHED, CHUNK_DONE, TICKETS = CHUNK_DONE + CHUNKS };
enum Stage { S_QKV = 1, S_ATTENTION, S_OUT, S_GATE_UP, S_DOWN, S_NORM, S_RING_FULL, S_RING_EMPTY, S_READY };

struct Layer {
  const u16 *norm, *qkv, *out, *mlp_norm, *gate_up, *down;
  u16 *keys, *values;
};

struct Arguments {
  const i64 *tokens, *positions, *slots;
  const int *lengths, *pages;
  const u16 *embedding, *norm;
  const float *cosines, *sines;
  u16* result;
  float *middle, *stream, *qkv, *shares, *peaks;  // the residual after attention and after the MLP; q, k, v; attention's
  u16 *mixed, *hidden;
  u32* counters;
  u64 *error, *host_error;
  i64* marks;
  int rows, pages_stride;
  float eps, scale;
  Layer layers[LAYERS];
};

struct Share {
  int first, count;
};
// This block's part of n rows. `turn` moves the larger parts on from block to block, so that all carry the same load.
DEVICE Share share(int n, int turn) {
  int i = (block() + turn) % GRID, first = n * i / GRID;
  return {first, n * (i + 1) / GRID - first};
}

// How attention is split in this launch: alike in every block.
struct Splits {
  int count;
  bool direct;  // the output projection reads the shares itself; otherwise the last block of a head merges them
  int units;    // pieces of work a layer
  int signals;  // counts a layer
};
DEVICE int pages_before(int length) { return length > 1 ? (length - 1 + PAGE - 1) / PAGE : 0; }
DEVICE Splits choose_splits(const Arguments& p) {
  int most = 1;
  for (int b = 0; b < p.rows; b++) {
    int tiles = (pages_before(p.lengths[b]) + TILE_PAGES - 1) / TILE_PAGES;
    most = tiles > most ? tiles : most;
  }
  int room = GRID / (p.rows * KV_HEADS), limit = room < 1 ? 1 : room < SPLITS ? room : SPLITS;
  Splits s;
  s.direct = p.rows <= 2 && most <= DIRECT_TILES * DIRECT && limit >= DIRECT;
  int wanted = s.direct ? DIRECT : limit;
  s.count = most < wanted ? most : wanted;
  s.direct = s.direct && s.count > 1;
  s.units = p.rows * KV_HEADS * s.count;
  s.signals = s.direct ? s.units : p.rows * KV_HEADS;
  return s;
}

// One piece of attention: split `split` of key head `head` of row `row`.
struct Unit {
  int row, head, split, first_page, pages;
};
// The first unit of this block in a layer; further ones follow in steps of GRID.
DEVICE int first_unit(int layer) { return (block() + GRID - layer * 37 % GRID) % GRID; }
DEVICE Unit unit(const Arguments& p, const Splits& s, int u) {
  Unit made;
  made.head = u % KV_HEADS;
  made.split = u / KV_HEADS % s.count;
  made.row = u / KV_HEADS / s.count;
  int pages = pages_before(p.lengths[made.row]), each = (pages + s.count - 1) / s.count;
  made.first_page = made.split * each < pages ? made.split * each : pages;
  made.pages = pages - made.first_page < each ? pages - made.first_page : each;
  return made;
}

// Shared memory, carved once.
struct Shared {
  u8* ring;
  float* parts;    // [2][PARTS * ROWS][WARPS]
  float* weights;  // [WARPS][PLACES][4]: attention weights of a warp's places
  float* merge;    // [WARPS][GROUP][DIM + 2]
  float* sums;     // [WARPS][8]
  u64 *full, *empty, *ready;
  volatile int* last;
};
DEVICE Shared carve() {
  Shared s;
  s.ring = shared_base();
  s.parts = (float*)(s.ring + SLOTS * SLOT);
  s.weights = s.parts + 2 * PARTS * ROWS * WARPS;
  s.merge = s.weights + WARPS * PLACES * 4;
  s.sums = s.merge + WARPS * GROUP * (DIM + 2);
  s.full = (u64*)(s.sums + WARPS * 8);
  s.empty = s.full + SLOTS;
  s.ready = s.empty + SLOTS;
  s.last = (volatile int*)(s.ready + READY);
  return s;
}

// Waiting for an mbarrier, for no longer than LIMIT cycles: then the error is noted and the wait is over.
DEVICE u64 error_code(int stage, int layer) { return 1ull | (u64)stage << 8 | (u64)layer << 16 | (u64)block() << 32; }
DEVICE void await(const Arguments& p, u64* b, u32 parity, int stage) {
  if (mbar_passed(b, parity)) return;
  i64 start = cycles();
  for (int i = 1; !mbar_passed(b, parity); i++) {
    if (i % 64) continue;
    if (cycles() - start > LIMIT) report(p.error, p.host_error, error_code(stage, 255));
    if (reported(p.error)) return;
  }
}
