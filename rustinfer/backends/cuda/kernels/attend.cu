// Attention of one row a sequence over the paged cache in bf16: see docs/notes/gpu-engine.md.
// A block takes row after row for one key head, and neighbouring blocks the same rows for the other heads, which lie beside
// each other. Each warp takes every WARPS-th tile through a ring of its own, which it fills again as soon as a tile is used,
// across the borders of rows: memory never waits for a sum. What a row gives depends on that row alone; which blocks make
// it, on all lengths.
// With AHEAD, what is old is read before the kernel in front has ended: all but queries and each row's last position. Lengths
// and pages were there before that kernel began.
#include "group.cuh"

constexpr int TILE = 16;                  // positions, as a matrix instruction takes them
constexpr int BAND = 64;                  // dimensions of a box: 128 bytes, the widest swizzle
constexpr int BANDS = DIM / BAND;
constexpr int BYTES = TILE * BAND * 2;    // of a tile's band
constexpr int STAGE = 2 * BANDS * BYTES;  // keys and values of a tile
constexpr int BOXES = TILE / BOX;         // of BOX positions of one page
constexpr int KNOWN = 32 / BOXES;         // tiles whose pages a warp's lanes remember
constexpr int THREADS = WARPS * 32;
constexpr int GROUPS = GRID / KV_HEADS;   // of blocks that take the same rows
constexpr int EACH = MOST_ROWS / THREADS; // rows that a thread looks at
constexpr int BESIDES = 2;                // tiles that a row's beginning and end cost
constexpr int LINE = DIM + 4;             // floats between a place's queries: no two of a warp's in one bank
constexpr int PLACE = GROUP * (LINE + 4);
static_assert(PAGE % BOX == 0 && TILE % BOX == 0 && MOST_ROWS % THREADS == 0 && GROUP <= 8 && GROUPS > 0, "");

struct Arguments {
  Map keys, values;
  const u16* queries;
  const int *lengths, *pages;
  u16* out;
  i64 query_row, query_head, pages_row;
  float scale;  // times log2(e)
  int rows;
};

struct Shared {
  u8* ring;
  float* places;
  u64* full;
  int *lengths, *totals, *bounds;
};

DEVICE int lane() { return thread() % 32; }
DEVICE int warp() { return thread() / 32; }
DEVICE int head() { return block() % KV_HEADS; }
DEVICE int tiles_of(int length) { return (length + TILE - 1) / TILE; }

// The rows of this block, from the first to before the last.
DEVICE void divide(const Arguments& a, const Shared& s) {
  int cost[EACH], sum = 0, total = 0;
#pragma unroll
  for (int r = 0; r < EACH; r++) {
    int row = thread() * EACH + r, length = row < a.rows ? (int)look(a.lengths + row) : 0;
    s.lengths[row] = length > 0 ? length : 0;
    cost[r] = row < a.rows ? tiles_of(s.lengths[row]) + BESIDES : 0;
    sum += cost[r];
  }
  int mine = sum;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    int other = shuffle(sum, (lane() - d) & 31);
    if (lane() >= d) sum += other;
  }
  if (lane() == 31) s.totals[warp()] = sum;
  if (thread() < 2) s.bounds[thread()] = a.rows;
  block_barrier();
  int start = sum - mine;
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    if (w < warp()) start += s.totals[w];
    total += s.totals[w];
  }
#pragma unroll
  for (int r = 0; r < EACH; r++) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      int mark = total * (block() / KV_HEADS + e) / GROUPS;
      if (mark >= start && mark < start + cost[r]) s.bounds[e] = thread() * EACH + r + (mark > start);
    }
    start += cost[r];
  }
  block_barrier();
}

// This warp's tiles of a row: every WARPS-th, beginning elsewhere for each row, so that odd ones go round.
DEVICE int piece_of(int row) { return (warp() + row) % WARPS; }
DEVICE int share_of(const Shared& s, int row) {
  return (tiles_of(s.lengths[row]) + WARPS - 1 - piece_of(row)) / WARPS;
}

// Asks for one tile after the other. A row's first pages are looked up when the row before it begins.
struct Asker {
  const Arguments& a;
  const Shared& s;
  int row, end, k = 0, count = 0, asked = 0, ids, following;
  u64 policy = read_once();

  DEVICE Asker(const Arguments& a, const Shared& s) : a(a), s(s), row(s.bounds[0] - 1), end(s.bounds[1]) {
    following = row + 1 < end ? pages_of(row + 1, 0) : 0;
  }

  // A box's page a lane, from the k-th tile on.
  DEVICE int pages_of(int row, int k) const {
    int position = (piece_of(row) + (k + lane() / BOXES) * WARPS) * TILE + lane() % BOXES * BOX;
    return position < s.lengths[row] ? (int)look(a.pages + row * a.pages_row + position / PAGE) : 0;
  }

  DEVICE bool next() {
    while (k == count) {
      if (row + 1 >= end) return false;
      row++, k = 0, count = share_of(s, row), ids = following;
      if (row + 1 < end) following = pages_of(row + 1, 0);
    }
    if (k && k % KNOWN == 0) ids = pages_of(row, k);
    return true;
  }

  // Whether there is a next tile of which the kernel in front writes nothing.
  DEVICE bool old() { return next() && piece_of(row) + k * WARPS + 1 < tiles_of(s.lengths[row]); }

  DEVICE void ask() {
    if (!next()) return;
    int id = shuffle(ids, k % KNOWN * BOXES + lane() % BOXES), slot = warp() * STAGES + asked % STAGES;
    if (lane() == 0) mbar_expect(s.full + slot, STAGE);
    warp_barrier();
    if (lane() < BOXES) {
      int at = (id * KV_HEADS + head()) * PAGE + ((piece_of(row) + k * WARPS) * TILE + lane() * BOX) % PAGE;
#pragma unroll
      for (int b = 0; b < BANDS; b++) {
        u8* to = s.ring + slot * STAGE + b * BYTES + lane() * BOX * BAND * 2;
        tensor_copy_once(to, &a.keys, b * BAND, at, s.full + slot, policy);
        tensor_copy_once(to + BANDS * BYTES, &a.values, b * BAND, at, s.full + slot, policy);
      }
    }
    warp_barrier();
    k++, asked++;
  }
};

// Of the queries 2 (lane % 4) and the next: the largest score and the lane's weights; sums of the dimensions 16 i + lane / 4
// (0 and 1) and 8 further (2 and 3).
struct Sums {
  float peak[2] = {-INFINITY, -INFINITY}, all[2] = {}, out[DIM / 16][4] = {};

  // A tile, of which `left` positions count.
  DEVICE void absorb(const u8* tile, const u32 (&q)[DIM / 16][2], int left, float scale) {
    const int g = lane() / 4, t = lane() % 4, line = lane() % 8, upper = lane() / 8 % 2, last = lane() / 16;
    float x[2][4] = {};
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) {
      u32 k[4];
      matrices(k, tile + i / 4 * BYTES + (line + upper * 8) * 128 + ((2 * i % 8 + last) ^ line) * 16);
      mma(x[i % 2], k[0], k[1], k[2], k[3], q[i][0], q[i][1]);
    }
    u32 weights[2];
    float w[4], fade[2];
#pragma unroll
    for (int e = 0; e < 4; e++) w[e] = g + e / 2 * 8 < left ? (x[0][e] + x[1][e]) * scale : -INFINITY;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      float most = fmaxf(w[j], w[j + 2]);
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2) most = fmaxf(most, shuffle_xor(most, mask));
      most = fmaxf(most, peak[j]);  // a tile has a position: it is finite
      fade[j] = exp2_fast(peak[j] - most);
      peak[j] = most;
      w[j] = exp2_fast(w[j] - most), w[j + 2] = exp2_fast(w[j + 2] - most);
      all[j] = all[j] * fade[j] + w[j] + w[j + 2];
    }
#pragma unroll
    for (int h = 0; h < 2; h++) weights[h] = turned(pack(w[2 * h], w[2 * h + 1]));
    u32 there[2];  // what nobody wrote may be anything, even times zero
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int n = left - 8 * h - 2 * t;
      there[h] = n > 1 ? 0xffffffffu : n > 0 ? 0xffffu : 0;
    }
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) {
      u32 v[4];
      matrices_turned(v, tile + (BANDS + i / 4) * BYTES + (line + last * 8) * 128 + ((2 * i % 8 + upper) ^ line) * 16);
#pragma unroll
      for (int e = 0; e < 4; e++) out[i][e] *= fade[e % 2];
      mma(out[i], v[0] & there[0], v[1] & there[0], v[2] & there[1], v[3] & there[1], weights[0], weights[1]);
    }
  }

  // Into a place: [GROUP] lines of sums, the peaks, the weights.
  DEVICE void leave(float* place) const {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      float sum = all[j];
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2) sum += shuffle_xor(sum, mask);
      int query = 2 * t + j;
      if (query >= GROUP) continue;
      if (g == 0) place[GROUP * LINE + query] = peak[j], place[GROUP * (LINE + 1) + query] = sum;
#pragma unroll
      for (int i = 0; i < DIM / 16; i++) {
        place[query * LINE + 16 * i + g] = out[i][j];
        place[query * LINE + 16 * i + g + 8] = out[i][j + 2];
      }
    }
  }
};

// The sums of a row's warps, in their pieces' order.
DEVICE void finish(const Arguments& a, const float* places, int row) {
  for (int i = thread(); i < GROUP * DIM / 2; i += THREADS) {
    int query = i / (DIM / 2), at = i % (DIM / 2) * 2;
    float peak = -INFINITY, all = 0.0f, x = 0.0f, y = 0.0f;
#pragma unroll
    for (int p = 0; p < WARPS; p++) peak = fmaxf(peak, places[p * PLACE + GROUP * LINE + query]);
    if (peak > -INFINITY)
#pragma unroll
      for (int p = 0; p < WARPS; p++) {
        const float* place = places + p * PLACE;
        float part = exp2_fast(place[GROUP * LINE + query] - peak);
        float2 sums = *(const float2*)(place + query * LINE + at);
        all += part * place[GROUP * (LINE + 1) + query], x += part * sums.x, y += part * sums.y;
      }
    float share = all > 0.0f ? 1.0f / all : 0.0f;
    *(u32*)(a.out + (((i64)row * KV_HEADS + head()) * GROUP + query) * DIM + at) = pack(x * share, y * share);
  }
}

DEVICE void fetch(u32 (&q)[DIM / 16][2], const Arguments& a, int row) {
  const int g = lane() / 4, t = lane() % 4;
  const u16* from = a.queries + row * a.query_row + (head() * GROUP + g) * a.query_head + 2 * t;
#pragma unroll
  for (int i = 0; i < 2 * (DIM / 16); i++) q[i / 2][i % 2] = g < GROUP ? *(const u32*)(from + 8 * i) : 0;
}

KERNEL(THREADS) attend(const __grid_constant__ Arguments a) {
  u8* base = shared_base() + (1024 - shared_address(shared_base()) % 1024) % 1024;
  float* places = (float*)(base + WARPS * STAGES * STAGE);
  u64* full = (u64*)(places + 2 * WARPS * PLACE);
  int* numbers = (int*)(full + WARPS * STAGES);
  const Shared s = {base, places, full, numbers, numbers + MOST_ROWS, numbers + MOST_ROWS + WARPS};
  let_successor_begin();
  for (int i = thread(); i < WARPS * STAGES; i += THREADS) mbar_init(full + i, 1);
  mbars_visible();
  if (!AHEAD) wait_for_predecessor();
  divide(a, s);
  Asker asker(a, s);
  const int first = asker.row + 1;
  u32 q[DIM / 16][2], upcoming[DIM / 16][2];
  while (AHEAD && asker.asked < STAGES && asker.old()) asker.ask();
  wait_for_predecessor();
  if (first < asker.end) fetch(upcoming, a, first);
  while (asker.asked < STAGES && asker.next()) asker.ask();
  int used = 0;
  for (int row = first; row < asker.end; row++) {
#pragma unroll
    for (int i = 0; i < 2 * (DIM / 16); i++) q[i / 2][i % 2] = upcoming[i / 2][i % 2];
    if (row + 1 < asker.end) fetch(upcoming, a, row + 1);
    Sums sums;
    const int length = s.lengths[row], count = share_of(s, row), piece = piece_of(row);
    for (int k = 0; k < count; k++, used++) {
      const int slot = warp() * STAGES + used % STAGES;
      while (!mbar_passed(s.full + slot, used / STAGES)) {}
      sums.absorb(s.ring + slot * STAGE, q, length - (piece + k * WARPS) * TILE, a.scale);
      warp_barrier();
      asker.ask();
    }
    float* at = places + row % 2 * WARPS * PLACE;
    sums.leave(at + piece * PLACE);
    barrier(1, THREADS);
    finish(a, at, row);
  }
}
