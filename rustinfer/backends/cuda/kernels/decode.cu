// One token for up to eight sequences through a whole decoder, in one launch: a block on every multiprocessor.
// Weights stream through shared memory without a pause, whatever the blocks wait for; what they exchange is small.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#error "decode.cu needs compute capability 9.0 or newer: it copies into shared memory in bulk"
#endif
#include "attention.cuh"
#include "stream.cuh"

// The residual stream at one place, before a stage adds to it.
DEVICE float residual(const Arguments& p, const float* from, bool embedded, int b, int row) {
  if (!embedded) return load_fresh(from + b * WIDTH + row);
  return low(p.embedding[(u64)p.tokens[b] * WIDTH + row]);
}

// Rows of the output or down projection, added to the stream. `old` was read ahead of the product.
struct Sums {
  static constexpr int N = (PARTS * ROWS + CONSUMERS - 1) / CONSUMERS;
  Share rows;
  int outputs;
  float old[N];

  DEVICE Sums(const Arguments& p, Share rows, const float* from, bool embedded) : rows(rows), outputs(rows.count * p.rows) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      int i = thread() + n * CONSUMERS;
      old[n] = i < outputs ? residual(p, from, embedded, i / rows.count, rows.first + i % rows.count) : 0;
    }
  }
  DEVICE void flush(Consumer& c, float* to, int counter) {
    barrier(1, CONSUMERS);
#pragma unroll
    for (int n = 0; n < N; n++) {
      int i = thread() + n * CONSUMERS;
      if (i < outputs) {
        int b = i / rows.count, row = i % rows.count;
        to[b * WIDTH + rows.first + row] = old[n] + c.total(row, b);
      }
    }
    c.flushed(outputs, counter);
  }
};

DEVICE int tiles_of(int rows) { return (rows + TILE_ROWS - 1) / TILE_ROWS; }

DEVICE void qkv_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  const Share rows = share(QKV, l);
  Activations<WIDTH_CHUNK> a[WIDTH / WIDTH_CHUNK];
  c.load_normed<WIDTH, WIDTH_CHUNK>(a, p.stream, l == 0, p.layers[l].norm);
#pragma unroll
  for (int i = 0; i < WIDTH / WIDTH_CHUNK; i++) c.product<WIDTH_CHUNK>(tiles_of(rows.count), a[i], i > 0);
  barrier(1, CONSUMERS);
  for (int i = thread(); i < rows.count * p.rows; i += CONSUMERS) {
    int b = i / rows.count, row = i % rows.count;
    p.qkv[b * QKV + rows.first + row] = c.total(row, b);
  }
  c.flushed(rows.count * p.rows, QKV_DONE);
}

DEVICE void attention_stage(Consumer& c, const Splits& splits, int l) {
  int u = first_unit(l);
  if (u >= splits.units) return;
  c.pass_gate();
  for (; u < splits.units; u += GRID) {
    Attention attention(c, c.p.layers[l]);
    attention.run(unit(c.p, splits, u), splits, l);
  }
}

DEVICE void out_stage(Consumer& c, const Splits& splits, int l) {
  const Arguments& p = c.p;
  Sums sums(p, share(WIDTH, l), p.stream, l == 0);
  c.pass_gate();
  Activations<MIXED_CHUNK> a[MIXED / MIXED_CHUNK];
#pragma unroll
  for (int i = 0; i < MIXED / MIXED_CHUNK; i++) {
    if (COLUMNS == 2 && splits.direct)
      load_shares<MIXED_CHUNK>(c, a[i], i * MIXED_CHUNK, splits.count);
    else
      c.load<MIXED_CHUNK>(a[i], p.mixed, MIXED, i * MIXED_CHUNK);
  }
#pragma unroll
  for (int i = 0; i < MIXED / MIXED_CHUNK; i++) c.product<MIXED_CHUNK>(tiles_of(sums.rows.count), a[i], i > 0);
  sums.flush(c, p.middle, MIDDLE_DONE);
}

DEVICE float silu(float x) { return x / (1 + exp2_fast(-1.4426950408889634f * x)); }

DEVICE void gate_up_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  Activations<WIDTH_CHUNK> a[WIDTH / WIDTH_CHUNK];
  c.load_normed<WIDTH, WIDTH_CHUNK>(a, p.middle, false, p.layers[l].mlp_norm);
  for (int chunk = 0; chunk < CHUNKS; chunk++) {
    const Share pairs = share(HIDDEN_CHUNK, l + chunk);
#pragma unroll
    for (int i = 0; i < WIDTH / WIDTH_CHUNK; i++) c.product<WIDTH_CHUNK>((pairs.count + 1) / 2, a[i], i > 0);
    barrier(1, CONSUMERS);
    for (int i = thread(); i < pairs.count * p.rows; i += CONSUMERS) {
      int b = i / pairs.count, pair = i % pairs.count, row = pair / 2 * TILE_ROWS + pair % 2;
      float v = silu(c.total(row, b)) * c.total(row + 2, b);
      p.hidden[b * HIDDEN + chunk * HIDDEN_CHUNK + pairs.first + pair] = (u16)pack(v, 0);
    }
    c.flushed(pairs.count * p.rows, CHUNK_DONE + chunk);
  }
}

// The next chunk's activations are fetched before a chunk's tiles are used, if they are there by then.
DEVICE void down_stage(Consumer& c, int l) {
  const Arguments& p = c.p;
  Sums sums(p, share(WIDTH, l + 1), p.middle, false);
  Activations<HIDDEN_CHUNK> now, next;
  c.pass_gate();
  c.load<HIDDEN_CHUNK>(now, p.hidden, HIDDEN, 0);
  for (int chunk = 0; chunk < CHUNKS; chunk++) {
    const bool more = chunk + 1 < CHUNKS, early = more && c.gate_open();
    if (early) {
      c.pass_gate();
      c.load<HIDDEN_CHUNK>(next, p.hidden, HIDDEN, (chunk + 1) * HIDDEN_CHUNK);
    }
    c.product<HIDDEN_CHUNK>(tiles_of(sums.rows.count), now, chunk > 0);
    if (more && !early) {
      c.pass_gate();
      c.load<HIDDEN_CHUNK>(next, p.hidden, HIDDEN, (chunk + 1) * HIDDEN_CHUNK);
    }
    now = next;
  }
  sums.flush(c, p.stream, LAYER_DONE);
}

// The last norm of row `block()`; then the counters are set back for the next launch: nobody looks at them any more.
DEVICE void norm_stage(Consumer& c) {
  const Arguments& p = c.p;
  const int row = block();
  constexpr int N = (WIDTH + CONSUMERS - 1) / CONSUMERS;
  c.pass_gate();
  float h[N], squares = 0;
#pragma unroll
  for (int n = 0; n < N; n++) {
    int i = thread() + n * CONSUMERS;
    h[n] = i < WIDTH ? load_fresh(p.stream + row * WIDTH + i) : 0;
  }
#pragma unroll
  for (int n = 0; n < N; n++) squares += h[n] * h[n];
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) squares += shuffle_xor(squares, mask);
  if (c.lane == 0) c.s.sums[c.warp * 8] = squares;
  barrier(1, CONSUMERS);
  float sum = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) sum += c.s.sums[w * 8];
  float scale = rsqrtf(sum / WIDTH + p.eps);
#pragma unroll
  for (int n = 0; n < N; n++) {
    int i = thread() + n * CONSUMERS;
    if (i < WIDTH) p.result[row * WIDTH + i] = (u16)pack(low(pack(h[n] * scale, 0)) * low(p.norm[i]), 0);
  }
  if (thread() == 0) *c.s.last = p.rows == 1 || take_ticket(p.counters + FINISHED * FIRSTS) == (u32)p.rows - 1;
  barrier(1, CONSUMERS);
  if (*c.s.last)
    for (int i = thread(); i < TICKETS + ROWS * KV_HEADS; i += CONSUMERS) p.counters[i * FIRSTS] = 0;
}

DEVICE void mark(const Consumer& c, int l, int stage) {
#if MARKS
  if (thread() == 0) c.p.marks[(block() * (LAYERS + 1) + l) * 8 + stage] = nanoseconds();
#endif
}

DEVICE void consume(const Arguments& p, const Shared& s, const Splits& splits) {
  Consumer c(p, s);
  mark(c, LAYERS, 0);
  for (int l = 0; l < LAYERS; l++) {
    c.begin();
    qkv_stage(c, l);
    mark(c, l, S_QKV);
    c.begin();
    attention_stage(c, splits, l);
    mark(c, l, S_ATTENTION);
    c.begin();
    out_stage(c, splits, l);
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
  if (reported(p.error)) return;  // an earlier launch failed: its counters cannot be trusted
  const Shared s = carve();
  const int warp = thread() / 32, lane = thread() % 32;
  if (thread() == 0) {
    for (int i = 0; i < SLOTS; i++) {
      mbar_init(s.full + i, 1);
      mbar_init(s.empty + i, WARPS);
    }
    for (int i = 0; i < READY; i++) mbar_init(s.ready + i, 1);
    mbars_visible();
  }
  const Splits splits = choose_splits(p);
  block_barrier();
  if (warp >= WARPS) {
    leave_registers<56>();
    if (warp == PRODUCER) Producer(p, s, lane).run(splits);
    if (warp == SCOUT && lane == 0) Scout(p, s).run(splits);
  } else {
    take_registers<224>();
    consume(p, s, splits);
  }
}
