// One token for up to eight sequences through a whole decoder, in one launch: a block on every multiprocessor.
// Weights stream through shared memory without a pause, whatever the blocks wait for; what they exchange is small.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#error "decode.cu needs compute capability 9.0 or newer: it copies into shared memory in bulk"
#endif
#include "attention.cuh"
#include "stream.cuh"

DEVICE void mark(const Consumer& c, int l, int stage) {
#if MARKS
  if (thread() == 0) c.p.marks[(block() * (LAYERS + 1) + l) * 16 + stage] = nanoseconds();
#endif
}
constexpr int RECEIVED = 8;  // added to a stage's mark

// Rows of the output or down projection, added to the stream. `old` was read ahead of the product.
struct Sums {
  static constexpr int N = (PARTS * ROWS + CONSUMERS - 1) / CONSUMERS;
  const Arguments& p;
  Share rows;
  int outputs;
  u32 old[N];

  DEVICE Sums(const Arguments& p, Share rows) : p(p), rows(rows), outputs(rows.count * p.rows) {}
  // The stream before: where others wrote it (and this block has seen it), or the embedding.
  DEVICE void begin(const float* from) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      int i = thread() + n * CONSUMERS, b = i / rows.count, row = rows.first + i % rows.count;
      if (i >= outputs) continue;
      old[n] = from ? look(from + b * WIDTH + row) : (u32)p.embedding[(u64)p.tokens[b] * WIDTH + row] << 16;
    }
  }
  DEVICE void flush(Consumer& c, float* to) {
    barrier(1, CONSUMERS);
#pragma unroll
    for (int n = 0; n < N; n++) {
      int i = thread() + n * CONSUMERS, b = i / rows.count, row = i % rows.count;
      if (i < outputs) publish(to + b * WIDTH + rows.first + row, as_float(old[n]) + c.total(row, b));
    }
    c.half ^= 1;
  }
};

DEVICE int tiles_of(int rows) { return (rows + TILE_ROWS - 1) / TILE_ROWS; }
DEVICE const float* stream_before(const Consumer& c, int l) { return l ? c.at(l - 1).stream : nullptr; }

DEVICE void qkv_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  const Share rows = share(QKV, l);
  float* to = c.at(l).qkv;
  Activations<WIDTH_CHUNK> a[WIDTH / WIDTH_CHUNK];
  c.load_normed<WIDTH, WIDTH_CHUNK>(a, stream_before(c, l), p.layers[l].norm, S_QKV, l);
  mark(c, l, S_QKV + RECEIVED);
#pragma unroll
  for (int i = 0; i < WIDTH / WIDTH_CHUNK; i++) c.product<WIDTH_CHUNK>(tiles_of(rows.count), a[i], i > 0);
  barrier(1, CONSUMERS);
  for (int i = thread(); i < rows.count * p.rows; i += CONSUMERS) {
    int b = i / rows.count, row = i % rows.count;
    publish(to + b * QKV + rows.first + row, c.total(row, b) * c.norm_scale(b));
  }
  c.half ^= 1;
}

DEVICE void attention_stage(Consumer& c, const Splits& splits, int l) {
  for (int u = first_unit(l); u < splits.units; u += GRID) Attention(c, c.p.layers[l]).run(u, splits, l);
}

DEVICE void out_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  const Exchange e = c.at(l);
  Sums sums(p, share(WIDTH, l));
  sums.begin(stream_before(c, l));
  constexpr int N = MIXED / MIXED_CHUNK;
  Activations<MIXED_CHUNK> a[N];
  Words<steps(MIXED_CHUNK) * GROUPS, true> words[N];
#pragma unroll
  for (int i = 0; i < N; i++) c.ask<MIXED_CHUNK>(words[i], e.mixed, MIXED, i * MIXED_CHUNK);
#pragma unroll
  for (int i = 0; i < N; i++) c.take<MIXED_CHUNK>(a[i], words[i], S_OUT, l);
  mark(c, l, S_OUT + RECEIVED);
#pragma unroll
  for (int i = 0; i < N; i++) c.product<MIXED_CHUNK>(tiles_of(sums.rows.count), a[i], i > 0);
  sums.flush(c, e.middle);
}

DEVICE float silu(float x) { return x / (1 + exp2_fast(-1.4426950408889634f * x)); }

DEVICE void gate_up_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  const Exchange e = c.at(l);
  Activations<WIDTH_CHUNK> a[WIDTH / WIDTH_CHUNK];
  c.load_normed<WIDTH, WIDTH_CHUNK>(a, e.middle, p.layers[l].mlp_norm, S_GATE_UP, l);
  mark(c, l, S_GATE_UP + RECEIVED);
  for (int chunk = 0; chunk < CHUNKS; chunk++) {
    const Share pairs = share(HIDDEN_CHUNK, l + chunk);
#pragma unroll
    for (int i = 0; i < WIDTH / WIDTH_CHUNK; i++) c.product<WIDTH_CHUNK>((pairs.count + 1) / 2, a[i], i > 0);
    barrier(1, CONSUMERS);
    for (int i = thread(); i < pairs.count * p.rows; i += CONSUMERS) {
      int b = i / pairs.count, pair = i % pairs.count, row = pair / 2 * TILE_ROWS + pair % 2;
      float scale = c.norm_scale(b);
      publish(e.hidden + b * HIDDEN + chunk * HIDDEN_CHUNK + pairs.first + pair,
              silu(c.total(row, b) * scale) * (c.total(row + 2, b) * scale));
    }
    c.half ^= 1;
  }
}

// The next chunk's activations are asked for before a chunk's tiles are used, and again only if they were not there yet.
DEVICE void down_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  const Exchange e = c.at(l);
  Sums sums(p, share(WIDTH, l + 1));
  Activations<HIDDEN_CHUNK> a;
  Words<steps(HIDDEN_CHUNK) * GROUPS, true> words;
  c.ask<HIDDEN_CHUNK>(words, e.hidden, HIDDEN, 0);
  sums.begin(e.middle);
  for (int chunk = 0; chunk < CHUNKS; chunk++) {
    c.take<HIDDEN_CHUNK>(a, words, S_DOWN, l);
    if (chunk + 1 < CHUNKS) c.ask<HIDDEN_CHUNK>(words, e.hidden, HIDDEN, (chunk + 1) * HIDDEN_CHUNK);
    c.product<HIDDEN_CHUNK>(tiles_of(sums.rows.count), a, chunk > 0);
  }
  sums.flush(c, e.stream);
}

// The last norm of row `block()`. Every block has written to that row, so all have begun: the epoch may move on.
DEVICE void norm_stage(Consumer& c) {
  const Arguments& p = c.p;
  const int row = block();
  const float* from = c.at(LAYERS - 1).stream + row * WIDTH;
  constexpr int N = (WIDTH + CONSUMERS - 1) / CONSUMERS;
  float h[N], squares = 0;
#pragma unroll
  for (int n = 0; n < N; n++) {
    int i = thread() + n * CONSUMERS;
    h[n] = i < WIDTH ? fetch(p, from + i, S_NORM, LAYERS) : 0;
    squares += h[n] * h[n];
  }
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) squares += shuffle_xor(squares, mask);
  if (c.lane == 0) c.s.sums[c.warp * 8] = squares;
  barrier(1, CONSUMERS);
  const float scale = c.norm_scale(0);
#pragma unroll
  for (int n = 0; n < N; n++) {
    int i = thread() + n * CONSUMERS;
    if (i < WIDTH) p.result[row * WIDTH + i] = (u16)pack(low(pack(h[n] * scale, 0)) * low(p.norm[i]), 0);
  }
  if (row == 0 && thread() == 0) *p.epoch = c.epoch + 1;
}

DEVICE void consume(const Arguments& p, const Shared& s, const Splits& splits, u32 epoch) {
  Consumer c(p, s, epoch);
  mark(c, LAYERS, 0);
  for (int l = 0; l < LAYERS; l++) {
    c.begin();
    qkv_stage(c, l);
    mark(c, l, S_QKV);
    c.begin();
    attention_stage(c, splits, l);
    mark(c, l, S_ATTENTION);
    c.begin();
    out_stage(c, l);
    mark(c, l, S_OUT);
    c.begin();
    gate_up_stage(c, l);
    mark(c, l, S_GATE_UP);
    c.begin();
    down_stage(c, l);
    mark(c, l, S_DOWN);
  }
  if (block() < p.rows) norm_stage(c);
  mark(c, LAYERS, S_NORM);
}

KERNEL(THREADS) decode(const __grid_constant__ Arguments p) {
  if (reported(p.error)) return;  // an earlier launch failed: what the blocks exchanged cannot be trusted
  const Shared s = carve();
  const int warp = thread() / 32, lane = thread() % 32;
  if (thread() == 0) {
    for (int i = 0; i < SLOTS; i++) {
      mbar_init(s.full + i, 1);
      mbar_init(s.empty + i, WARPS);
    }
    mbars_visible();
  }
  const Splits splits = choose_splits(p);
  const u32 epoch = *p.epoch;
  block_barrier();
  if (warp >= WARPS) {
    leave_registers<56>();
    if (warp == PRODUCER)
      Producer(p, s, lane).run(splits);
    else
      clear(p, epoch, thread() - (PRODUCER + 1) * 32, THREADS - (PRODUCER + 1) * 32);
  } else {
    take_registers<224>();
    consume(p, s, splits, epoch);
  }
}
