// The shape of the model and of the launch, the kernel's one argument, and who does what share of a product.
// Set from outside (plan.py): GRID ROWS WIDTH HIDDEN HEADS KV_HEADS DIM LAYERS VOCAB PAGE, the BITS of a layer's weights,
// HEAD_BITS and TABLE_BITS (the embedding), the chunks WIDTH_CHUNK MIXED_CHUNK HIDDEN_CHUNK HEAD_CHUNK, PAIRED (blocks that share
// a layer's rows, of each of which they have every second chunk, 1 or 2), the ring's SLOTS SLOT AHEAD
// DOWN_AHEAD PILE CALM, PARTS (rows of the largest share), AT_ONCE (quads of rows), TOKENS (the most in a launch),
// SPLITS, PART_PAGES, APART and MANY (of attention), TENSOR (its heads are rows of matrix instructions), OWN (of hidden units), LIMIT, MARKS.
#pragma once
#include "ptx.cuh"

// Warps: those that multiply, those that copy, and one that tidies.
constexpr int WARPS = 8, CONSUMERS = WARPS * 32, PRODUCERS = 3, TIDY = (WARPS + PRODUCERS) * 32, THREADS = TIDY + 32;
constexpr int QUAD = 4, SLICES = 4;  // rows, and pieces of K side by side, in one matrix instruction
constexpr int COLUMNS = ROWS < 2 ? 2 : ROWS, GROUPS = COLUMNS / 2;  // activation columns; instructions for each weight
constexpr int MIXED = HEADS * DIM, QKV = (HEADS + 2 * KV_HEADS) * DIM, GROUP = HEADS / KV_HEADS;
constexpr int PAIRS = GRID / PAIRED;  // who share rows: blocks, or pairs of neighbours
static_assert(PAIRED == 1 || (WIDTH_CHUNK == MIXED_CHUNK && WIDTH_CHUNK == HIDDEN_CHUNK && WIDTH_CHUNK < HEAD_CHUNK && GRID % 2 == 0),
              "by its columns a chunk is known for a half");
constexpr int sharers(int chunk) { return PAIRED > 1 && chunk == WIDTH_CHUNK ? PAIRED : 1; }
DEVICE int rank() { return PAIRED > 1 ? block() % PAIRED : 0; }
constexpr int CHUNKS = HIDDEN / HIDDEN_CHUNK / PAIRED;  // down's tiles are of a chunk of the hidden units
// With OWN each warp has neighbouring hidden units of its own: down is one stage, in which a warp waits for no others.
constexpr int FLUSHES = OWN ? 1 : CHUNKS, TOLD = HIDDEN / FLUSHES;  // so often gate/up tells hidden units, so many at a time
static_assert(!OWN || HIDDEN_CHUNK % (HIDDEN / WARPS) == 0, "a warp's hidden units are of one chunk");
constexpr int LANES = DIM / 16, PLACES = 32 / LANES, TILE_PLACES = PLACES * WARPS, TILE_PAGES = TILE_PLACES / PAGE;
static_assert(TILE_PAGES >= 1 && TILE_PAGES * PAGE == TILE_PLACES, "a tile of keys holds whole pages");
// Attention without TENSOR: a warp takes one query head and every PIECES-th run of a tile's places.
constexpr int PIECES = WARPS / GROUP, RUN = TILE_PLACES / PIECES, PASSES = RUN / PLACES;
static_assert(GROUP <= WARPS && RUN % PLACES == 0, "a warp, or a row of half a matrix instruction, for each query head");

constexpr int TURNS = 3;  // parts of the exchange: in use, clean, being cleared. A launch of several tokens goes through them

enum Stage { S_QKV = 1, S_ATTENTION, S_MERGE, S_OUT, S_GATE_UP, S_DOWN, S_HEAD, S_ARRIVAL, S_SLOT, S_DRAW, S_PAIR };

// How weights are stored. 16 bits: bf16. 8: signed integers with a scale for each row. 4: unsigned integers, with a scale
// and a zero for each GROUPED columns of a row; of a group's 32 bytes, byte j has column j below column j + 32.
constexpr int GROUPED = 64;
constexpr int row_bytes(int bits, int columns) { return columns * bits / 8; }
constexpr int group_bytes(int bits, int columns) { return bits == 4 ? columns / GROUPED * 2 : 0; }  // of a row's scales
constexpr int span(int bits, int chunk) { return 16 / bits * sharers(chunk); }  // quads of rows in a tile of the ring
constexpr int tile_rows(int bits, int chunk) { return QUAD * span(bits, chunk); }
constexpr int block_columns(int bits) { return bits == 16 ? 32 : 64; }  // that four lanes take side by side
constexpr int eights(int bits) { return block_columns(bits) / 32; }     // of a lane's activations for a block
constexpr int steps(int bits, int chunk) {
  return (chunk / block_columns(bits) + WARPS * SLICES - 1) / (WARPS * SLICES);
}
struct Matrix {
  const u8* data;
  const void *scales, *zeros;
};
struct Layer {
  const u16 *norm, *mlp_norm;
  u16 *keys, *values;
  Matrix qkv, out, gate_up, down;
};

// With `count` tokens to draw, what a step is told of its rows (positions, slots, lengths) follows from `newest`, the
// position of each row's newest token in the cache (negative: no part in it). `tokens` and `newest` are moved on, `told`
// [count][rows] is written word by word as tokens are drawn; when `stop` is set the rest is not. Without, logits come out.
struct Arguments {
  i64* tokens;
  const i64 *positions, *slots;
  const int *lengths, *pages;
  i64* newest;
  const i64 *begin, *seeds;
  const float* temperature;
  i64* told;
  const i64* stop;
  const u16* norm;
  Matrix embedding, head;
  const float *cosines, *sines;
  float* logits;
  float* exchange;  // [TURNS][LAYERS] of what `Exchange` says
  u32* winners;     // [TURNS][ROWS][GRID][2]: the best of each block's logits, as `Best` has it
  u32* epoch;       // whose turn it is
  u64 *error, *host_error;
  i64* marks;
  int rows, pages_stride, count, unused;
  float eps, scale;
  Layer layers[LAYERS];
};

// What the blocks tell each other in one layer. All of it is ABSENT before.
constexpr int UNIT = GROUP * (DIM + 2);  // a share of attention: sums, then peaks and weights
struct Exchange {
  float *qkv, *shares;                    // q, k, v; attention's shares
  u16 *middle, *stream, *mixed, *hidden;  // the residual after attention and after the MLP; what is in between
  static constexpr int WORDS = (ROWS * QKV + GRID * UNIT + ROWS * (2 * WIDTH + MIXED + HIDDEN) / 2 + 3) / 4 * 4;
};
DEVICE Exchange exchange(const Arguments& p, int turn, int layer) {
  Exchange e;
  e.qkv = p.exchange + ((u64)turn * LAYERS + layer) * Exchange::WORDS;
  e.middle = (u16*)(e.qkv + ROWS * QKV);
  e.stream = e.middle + ROWS * WIDTH;
  e.mixed = e.stream + ROWS * WIDTH;
  e.hidden = e.mixed + ROWS * MIXED;
  e.shares = (float*)(e.hidden + ROWS * HIDDEN);
  return e;
}

// Where column k of a row of K is in what blocks tell each other in bf16. With TENSOR all rows' 32 columns that four lanes look
// at side by side are neighbours, so that a warp's look touches whole lines.
DEVICE int told_at(int row, int k, int K) { return TENSOR ? (k / 32 * ROWS + row) * 32 + k % 32 : row * K + k; }

constexpr int WINNERS = (2 * ROWS * GRID + 3) / 4 * 4;  // words of the blocks' best of one token

struct Share {
  int first, count;
};
// This block's part of n rows, or its pair's. `turn` moves the larger parts on, so that all carry the same load.
template <int SHARERS = PAIRED>
DEVICE Share share(int n, int turn) {
  constexpr int ALL = GRID / SHARERS;
  int i = (block() / SHARERS + turn) % ALL, first = n * i / ALL;
  return {first, n * (i + 1) / ALL - first};
}
// Of a pair's rows those that this block finishes: it gets the other's sums of them.
DEVICE Share finished(Share whole) {
  if (PAIRED == 1) return whole;
  const int half = (whole.count + 1) / 2;
  return rank() ? Share{whole.first + half, whole.count - half} : Share{whole.first, half};
}

// Of a share that is too large for `parts`, PARTS rows from the i-th on.
DEVICE Share part_of(Share whole, int i) {
  return {whole.first + i, whole.count - i < PARTS ? whole.count - i : PARTS};
}

// The embedding of a token as bf16 gives it: one column, and eight from k on. `scale` is `table_scale`.
DEVICE float table_scale(const Arguments& p, int token) {
  return TABLE_BITS == 16 ? 1 : ((const float*)p.embedding.scales)[token];
}
DEVICE const u8* table_row(const Arguments& p, int token) {
  return p.embedding.data + (u64)token * row_bytes(TABLE_BITS, WIDTH);
}
DEVICE float signed_byte(u32 v, int i) { return (int)(v << (24 - 8 * i)) >> 24; }
DEVICE u32 signed_pair(u32 v, int i, float scale) { return pack(signed_byte(v, i) * scale, signed_byte(v, i + 1) * scale); }
DEVICE float embedded(const Arguments& p, int token, int k, float scale) {
  const u8* from = table_row(p, token) + row_bytes(TABLE_BITS, k);
  return low(TABLE_BITS == 16 ? *(const u16*)from : pack(signed_byte(*from, 0) * scale, 0));
}
DEVICE uint4 embedded8(const Arguments& p, int token, int k, float scale) {
  const u8* from = table_row(p, token) + row_bytes(TABLE_BITS, k);
  if (TABLE_BITS == 16) return *(const uint4*)from;
  const uint2 v = *(const uint2*)from;
  return make_uint4(signed_pair(v.x, 0, scale), signed_pair(v.x, 2, scale), signed_pair(v.y, 0, scale), signed_pair(v.y, 2, scale));
}

// From one sequence's sums to the next one's: so neither who writes four rows' of eight sequences nor who reads rows' meets a
// bank twice. Four sequences of packed weights have the warps' sums of a row beside each other, read by two loads.
constexpr bool BESIDE = BITS < 16 && ROWS == 4;
constexpr int PARTS_APART = PARTS + 4;
// What each warp has of attention, and the newest value: where the next sums are to be, if there is room.
constexpr int MERGE_APART = TENSOR ? DIM + 4 : DIM + 2, MERGE = TENSOR ? TILE_PLACES / 8 * GROUP * MERGE_APART + DIM / 2 : WARPS * MERGE_APART;
constexpr bool MERGE_INSIDE = TENSOR && MERGE <= WARPS * ROWS * PARTS_APART;
constexpr int RESIDUAL = (((WIDTH + PAIRS - 1) / PAIRS + PAIRED - 1) / PAIRED + 1) / 2 * 2;  // of the width, in the largest share
constexpr int INBOX = CONSUMERS + ROWS;  // what the pair's other block says at a time: a sum for each thread, and squares

// Shared memory, carved once.
// What a token asks of a row, read once: a layer that had to read it would wait for memory that streams weights.
struct Row {
  i64 slot;
  u64 newest;  // where the newest position's key and value are, or are to be put: page * PAGE + place
  int position, pages, length, token;
};
// How a row's tokens are drawn.
struct Wish {
  i64 seed, begin;
  float temperature;
  int unused[3];
};
struct Shared {
  u8* ring;
  Row* rows;       // [TOKENS][ROWS]
  Wish* wishes;    // [ROWS]
  float* parts;    // [2][WARPS][ROWS][PARTS_APART], or [2][PARTS][ROWS][WARPS] where they are BESIDE each other
  float* weights;  // [WARPS][RUN] without TENSOR: attention weights of a warp's places
  float* merge;    // [MERGE] unless that is elsewhere; of a draw [WARPS][4]
  float* sums;     // [WARPS][COLUMNS]
  float* residual;  // [ROWS][RESIDUAL]: of this block's part of the width, in fp32. What others are told of it is rounded
  float* inbox;     // [2][INBOX]
  u64 *full, *empty;
  u64* turns;  // [PRODUCERS]: whether it is a producer's turn to open a slot
  u64* heard;  // [2]: whether the inbox is full
  u64* drawn;  // whether the next token may begin; then `going` says whether there is one
  int* going;
  volatile int* calm;  // whether the block waits for others, stage after stage, with little to multiply
};
DEVICE Shared carve() {
  Shared s;
  s.ring = shared_base();
  s.rows = (Row*)(s.ring + SLOTS * SLOT);
  s.wishes = (Wish*)(s.rows + TOKENS * ROWS);
  s.parts = (float*)(s.wishes + ROWS);
  s.weights = s.parts + 2 * PARTS_APART * ROWS * WARPS;
  s.merge = s.weights + (TENSOR ? 0 : WARPS * RUN);
  s.sums = s.merge + (MERGE_INSIDE ? WARPS * 4 : MERGE);
  s.residual = s.sums + WARPS * COLUMNS;
  s.inbox = s.residual + ROWS * RESIDUAL;
  s.full = (u64*)(s.inbox + (PAIRED > 1 ? 2 * INBOX : 0));
  s.empty = s.full + SLOTS;
  s.turns = s.empty + SLOTS;
  s.heard = s.turns + PRODUCERS;
  s.drawn = s.heard + (PAIRED > 1 ? 2 : 0);
  s.going = (int*)(s.drawn + 1);
  s.calm = s.going + 1;
  return s;
}

DEVICE int pages_before(int length) { return length > 1 ? (length - 1 + PAGE - 1) / PAGE : 0; }
DEVICE u64 place(const Arguments& p, int b, int at) {
  return (u64)p.pages[(u64)b * p.pages_stride + at / PAGE] * PAGE + at % PAGE;
}
// Of the t-th token of a launch.
DEVICE Row read_row(const Arguments& p, int t, int b) {
  Row row;
  const i64 before = p.count ? p.newest[b] : 0;
  const int last = p.count ? (before < 0 ? -1 : (int)before + 1 + t) : p.lengths[b] - 1;
  const i64 position = p.count ? last : p.positions[b];
  row.slot = p.count ? (last < 0 ? -1 : (i64)place(p, b, last)) : p.slots[b];
  row.length = last + 1, row.pages = pages_before(last + 1);
  row.position = position < 0 ? 0 : position;  // of padding it may be anything
  row.newest = row.slot;
  if (row.slot < 0) row.newest = last < 0 ? 0 : place(p, b, last);
  row.token = p.tokens[b];
  return row;
}

// How attention is split for one token: alike in every block.
struct Splits {
  int count;  // of one key head of one row
  int apart;  // whether the first has the newest position alone, and then what the others tell it: it waits for them
  int units;  // pieces of work a layer
};
DEVICE Splits choose_splits(const Row* rows, int n) {
  int most = 1;
  for (int b = 0; b < n; b++) {
    int parts = (rows[b].pages + PART_PAGES - 1) / PART_PAGES;
    most = parts > most ? parts : most;
  }
  // Never more units than blocks where there are splits: the first of a head waits for the others. What counts is the rows
  // that the kernel may have: a graph pads to them, a launch of several tokens does not, and their bits are to be alike.
  const int room = GRID / (unknown(ROWS) * KV_HEADS), limit = room < 1 ? 1 : room < SPLITS ? room : SPLITS;
  const int apart = limit > APART && most > 1, count = most + apart < limit ? most + apart : limit;
  return {count, apart, n * KV_HEADS * count};
}

// One piece of attention: split `split` of key head `head` of row `row`.
struct Unit {
  int row, head, split, first_page, pages;
};
// The first unit of this block in a layer; further ones follow in steps of GRID.
DEVICE int first_unit(int layer) { return (block() + GRID - layer * 37 % GRID) % GRID; }
DEVICE Unit unit(const Row* rows, const Splits& s, int u) {
  Unit made;
  made.head = u % KV_HEADS;
  made.split = u / KV_HEADS % s.count;
  made.row = u / KV_HEADS / s.count;
  const int pages = rows[made.row].pages, parts = s.count - s.apart, each = (pages + parts - 1) / parts;
  made.first_page = (made.split - s.apart) * each < pages ? (made.split - s.apart) * each : pages;
  made.pages = pages - made.first_page < each ? pages - made.first_page : each;
  if (s.apart && made.split == 0) made.first_page = made.pages = 0;
  return made;
}

// A wait of at most LIMIT cycles. Then, or when another wait anywhere has failed, all waits are over: the launch runs to
// its end over whatever there is, and the host is told.
struct Patience {
  const Arguments& p;
  int tries = 0;
  i64 start;
  DEVICE Patience(const Arguments& p) : p(p), start(cycles()) {}
  DEVICE bool over(int stage, int layer) {
    pause();
    if (++tries % 64) return false;
    if (cycles() - start > LIMIT)
      report(p.error, p.host_error, 1ull | (u64)stage << 8 | (u64)layer << 16 | (u64)block() << 32);
    return reported(p.error) != 0;
  }
};
constexpr int ANY = 0xffff;  // in place of a layer
DEVICE void await(const Arguments& p, u64* b, u32 phase, int stage) {
  if (mbar_passed(b, phase)) return;
  Patience patience(p);
  while (!mbar_passed(b, phase) && !patience.over(stage, ANY)) continue;
}

DEVICE bool there(u32 v) { return v != ABSENT; }
DEVICE bool there(uint4 v) { return there(v.x) && there(v.y) && there(v.z) && there(v.w); }
// The upper bit of a half that is all ones, or of one above such a half.
DEVICE u32 halves_absent(u32 v) { return ~v - 0x00010001u & v & 0x80008000u; }
DEVICE bool pairs_there(uint4 v) {
  return !(halves_absent(v.x) | halves_absent(v.y) | halves_absent(v.z) | halves_absent(v.w));
}

// N times 16 bytes that other blocks write, asked for together, and again until they are there.
template <int N, bool BF16>
struct Words {
  uint4 v[N];
  const u8* base;
  int at[N];        // bytes from there
  u32 missing = 0;  // a bit for each

  DEVICE Words(const void* base = nullptr) : base((const u8*)base) {}
  DEVICE void want(int n, int bytes) { at[n] = bytes, missing |= 1u << n; }
  DEVICE void skip(int n) { v[n] = make_uint4(0, 0, 0, 0), at[n] = 0; }
  DEVICE void ask() {
#pragma unroll
    for (int n = 0; n < N; n++)
      if (missing >> n & 1) v[n] = look4(base + at[n]);
  }
  DEVICE void check() {
#pragma unroll
    for (int n = 0; n < N; n++)
      if ((missing >> n & 1) && (BF16 ? pairs_there(v[n]) : there(v[n]))) missing &= ~(1u << n);
  }
  DEVICE void receive(const Arguments& p, int stage, int layer) {
    check();
    if (!missing) return;
    Patience patience(p);
    while (missing && !patience.over(stage, layer)) {
      ask();
      check();
    }
  }
};
DEVICE float fetch(const Arguments& p, const float* from, int stage, int layer) {
  u32 v = look(from);
  if (!there(v)) {
    Patience patience(p);
    while (!there(v = look(from)) && !patience.over(stage, layer)) continue;
  }
  return as_float(v);
}
