// A token, or a few, for up to eight sequences through a whole decoder, in one launch: a block on every multiprocessor.
// Weights stream through shared memory without a pause, whatever the blocks wait for; what they exchange is small.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#error "decode.cu needs compute capability 9.0 or newer: it copies into shared memory in bulk"
#endif
#if TENSOR
#include "heads.cuh"
#else
#include "attention.cuh"
#endif
#include "draw.cuh"
#include "stream.cuh"

constexpr int RECEIVED = 8;  // added to a stage's mark

DEVICE int quads_of(int rows) { return (rows + QUAD - 1) / QUAD; }
DEVICE float silu(float x) { return x / (1 + exp2_fast(-1.4426950408889634f * x)); }

// One layer's products, one after the other, in one loop: the code of a product is then there once, and stays in the
// instruction cache, which a layer's stages would otherwise drive out of it each time.
struct Products {
  static constexpr int QKV_AT = 0, OUT_AT = 1, GATE_UP_AT = 2, DOWN_AT = 2 + FLUSHES, END = DOWN_AT + (OWN ? 1 : CHUNKS);
  static constexpr bool ALIKE = WIDTH_CHUNK == MIXED_CHUNK && WIDTH_CHUNK == HIDDEN_CHUNK;
  static constexpr int N = (PARTS + TEAM - 1) / TEAM;
  Consumer& c;
  const Arguments& p;
  const int l;
  const Exchange e;
  const u16* before;  // the stream before this layer; none before the first, which has the embedding
  Activations a;
  static constexpr int EARLY = ROWS <= (BITS == 16 ? 4 : 2) ? 2 : 1;  // so many chunks before its product hidden units are asked for
  // Whether the first chunk is not asked for before its own product: the only one is told by nobody before.
  static constexpr bool LATE = EARLY == 1 && (CHUNKS == 1 || BITS < 16);
  Words<steps(BITS, HIDDEN_CHUNK) * GROUPS * asked(BITS), true> next[EARLY];
  float scale[BITS == 8 ? N : 1][2];  // of a row of weights; of gate and up
  Share rows;

  DEVICE Products(Consumer& c, int l) : c(c), p(c.p), l(l), e(c.at(l)), before(l ? c.at(l - 1).stream : nullptr) {}

  // Of this block's part of the width, by the thread that adds to it.
  DEVICE float* residual(int b, int row) const { return c.s.residual + b * RESIDUAL + row; }
  // What the first layer adds to.
  DEVICE void embed() {
    const int b = thread() / TEAM, token = c.row(b).token;
    if (b >= p.rows) return;
    const Share mine = finished(rows);
    for (int row = thread() % TEAM; row < mine.count; row += TEAM)
      *residual(b, row) = embedded(p, token, mine.first + row, table_scale(p, token));
  }
  // The scales of the rows of 8-bit weights, also ahead of the product.
  DEVICE void read_scales(int at) {
    const Layer& w = p.layers[l];
    const bool pairs = at >= GATE_UP_AT && at < DOWN_AT;
    const float* from = (const float*)(at == QKV_AT ? w.qkv : at == OUT_AT ? w.out : pairs ? w.gate_up : w.down).scales;
#pragma unroll
    for (int n = 0; n < (BITS == 8 ? N : 0); n++) {
      const int row = thread() % TEAM + n * TEAM;
      if (row >= rows.count) continue;
      scale[n][0] = from[rows.first + row];
      if (pairs) scale[n][1] = from[HIDDEN + rows.first + row];
    }
  }

  DEVICE void receive(int at) {
    if (at == QKV_AT || at == GATE_UP_AT) {
      const bool first = at == QKV_AT;
      c.load_normed<BITS, WIDTH, WIDTH_CHUNK>(a, first ? before : e.middle, first ? p.layers[l].norm : p.layers[l].mlp_norm,
                                        first ? S_QKV : S_GATE_UP, l);
      mark(c, l, (first ? S_QKV : S_GATE_UP) + RECEIVED);
    } else if (at == OUT_AT) {
      if (l == 0) embed();
      Words<MIXES * steps(BITS, MIXED_CHUNK) * GROUPS * asked(BITS), true> words;
      c.ask<BITS, MIXED, MIXED_CHUNK, MIXES>(words, e.mixed, 0);
      c.take<BITS>(a, words, S_OUT, l);
      mark(c, l, S_OUT + RECEIVED);
    } else if (OWN && at == DOWN_AT) {
      Words<steps(BITS, HIDDEN) * GROUPS * asked(BITS), true> words;
      c.ask<BITS, HIDDEN, HIDDEN, 1>(words, e.hidden, 0);
      c.take<BITS>(a, words, S_DOWN, l);
    } else if (at >= DOWN_AT) {
      if (at == DOWN_AT && LATE) ask_hidden(0);
      c.take<BITS>(a, next[0], S_DOWN, l);
    }
    if (OWN) return;
    const int chunk = at + EARLY - DOWN_AT;
    if (EARLY > 1) next[0] = next[EARLY - 1];
    if (chunk >= LATE && chunk < CHUNKS) ask_hidden(chunk);
  }
  // Ahead; when its turn comes, again only if it was not there yet.
  DEVICE void ask_hidden(int chunk) {
    c.ask<BITS, HIDDEN, HIDDEN_CHUNK, 1>(next[EARLY - 1], e.hidden, chunk * TOLD);
  }

  DEVICE void multiply(int at) {
    const bool pairs = at >= GATE_UP_AT && at < DOWN_AT, add = !OWN && at > DOWN_AT;
    const int quads = pairs ? (rows.count + 1) / 2 : quads_of(rows.count);
    if (OWN && at == DOWN_AT)
      c.product_own<BITS>(quads, a);
    else if (ALIKE && WIDE == 1 && MIXES == 1)
      c.product<BITS, WIDTH_CHUNK>(quads, pairs, a, add);
    else if (at >= DOWN_AT)
      c.product<BITS, HIDDEN_CHUNK>(quads, false, a, add);
    else if (at == OUT_AT)
      c.products<BITS, MIXED_CHUNK, MIXES>(quads, false, a);
    else
      c.products<BITS, WIDTH_CHUNK, WIDE>(quads, pairs, a);
  }

  // Sums that are complete go to the other blocks.
  DEVICE void flush(int at) {
    if (at >= DOWN_AT && at < END - 1) return;
    barrier(1, CONSUMERS);
    moment(c, l, at * 5 + 3);
    if (PAIRED > 1) return flush_pair(at);
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int b = thread() / TEAM, row = thread() % TEAM + n * TEAM, to = rows.first + row;
      if (row >= rows.count || b >= p.rows) continue;
      const float once = unpacked(BITS) * (BITS == 8 ? scale[n][0] : 1), twice = unpacked(BITS) * (BITS == 8 ? scale[n][1] : 1);
      if (at == QKV_AT) {
        publish(e.qkv + b * QKV + to, c.total(row, b) * once * c.norm_scale(b));
      } else if (at < DOWN_AT && at >= GATE_UP_AT) {
        const int gate = gate_row(row);
        const float norm = c.norm_scale(b);
        publish(e.hidden + told_at(b, to, HIDDEN),
                silu(c.total(gate, b) * once * norm) * (c.total(gate + UP_BELOW, b) * twice * norm));
      } else {
        const float sum = *residual(b, row) += c.total(row, b) * once;
        publish((at == OUT_AT ? e.middle : e.stream) + told_at(b, to, WIDTH), sum);
      }
    }
    c.half ^= 1;
  }

  // A pair's blocks have half of each sum: what the other is to finish is sent to it, what this one finishes is awaited. A
  // thread has one row; of gate and up two neighbours have one each. There are two inboxes: the other may be one flush ahead,
  // and no further, since for the next it needs this block's.
  DEVICE void flush_pair(int at) {
    static_assert(PAIRED == 1 || ((QKV + PAIRS - 1) / PAIRS + 1) / 2 <= TEAM && ((TOLD + PAIRS - 1) / PAIRS + 1) / 2 * 2 <= TEAM, "a thread for each");
    const bool pairs = at >= GATE_UP_AT && at < DOWN_AT, normed = pairs || at == QKV_AT;
    const Share mine = finished(rows);
    const int b = thread() / TEAM, member = thread() % TEAM, row = pairs ? member / 2 : member, up = pairs ? member % 2 : 0;
    const int ours = mine.first - rows.first + row, theirs = (rank() ? 0 : mine.count) + row, box = c.heard % 2;
    const bool used = b < p.rows;
    float* inbox = c.s.inbox + box * INBOX;
    u64* heard = c.s.heard + box;
    if (thread() == 0) mbar_expect(heard, 4 * p.rows * (mine.count * (pairs ? 2 : 1) + normed));
    if (used && row < rows.count - mine.count) tell_pair(inbox + thread(), c.total(pairs ? gate_row(theirs) + UP_BELOW * up : theirs, b), heard);
    const float squares = normed ? c.squares(b) : 0;
    if (used && normed && member == 0) tell_pair(inbox + CONSUMERS + b, squares, heard);
    float sum = c.total(pairs ? gate_row(ours) + UP_BELOW * up : ours, b);
    await(p, heard, c.heard / 2, S_PAIR);
    sum += inbox[thread()];
    if (normed) sum *= c.norm_of(squares + inbox[CONSUMERS + b]);
    const float above = pairs ? shuffle_xor(sum, 1) : 0;
    const int to = mine.first + row;
    if (used && row < mine.count) {
      if (at == QKV_AT)
        publish(e.qkv + b * QKV + to, sum);
      else if (!pairs)
        publish((at == OUT_AT ? e.middle : e.stream) + told_at(b, to, WIDTH), *residual(b, row) += sum);
      else if (!up)
        publish(e.hidden + told_at(b, to, HIDDEN), silu(sum) * above);
    }
    c.heard++, c.half ^= 1;
  }
  // Where a row of gate is among the sums; that of up is UP_BELOW further.
  static constexpr int UP_BELOW = OWN ? 32 / BITS : 2;
  DEVICE static int gate_row(int row) { return row / UP_BELOW * 2 * UP_BELOW + row % UP_BELOW; }

  DEVICE void calm(bool on) const {
    if (thread() == 0) *c.s.calm = on;
  }

  DEVICE void run(const Splits& splits) {
    Unit mine;  // of attention; with OWN the first is found while others are waited for (in bf16 that is 12 KB of code)
    if (OWN) mine = unit(&c.row(0), splits, first_unit(l) < splits.units ? first_unit(l) : 0);
#pragma unroll 1
    for (int at = 0; at < END; at++) {
      c.begin();
      moment(c, l, at * 5);
      if (at < GATE_UP_AT) {
        rows = at == QKV_AT ? share(QKV, l) : share(WIDTH, 0);
      } else if (at < DOWN_AT) {
        rows = share(TOLD, l + at - GATE_UP_AT);
        rows.first += (at - GATE_UP_AT) * TOLD;
      } else {
        rows = share(WIDTH, 0);
      }
      if (BITS == 8 && at <= DOWN_AT) read_scales(at);
      if (at == QKV_AT) calm(true);
      receive(at);
      if (at == GATE_UP_AT) calm(false);
      moment(c, l, at * 5 + 1);
      multiply(at);
      moment(c, l, at * 5 + 2);
      flush(at);
      moment(c, l, at * 5 + 4);
      if (at == QKV_AT) {
        mark(c, l, S_QKV);
        for (int u = first_unit(l); u < splits.units; u += GRID) {
          if (!OWN || u >= GRID) mine = unit(&c.row(0), splits, u);
          Attention(c, p.layers[l]).run(u, mine, splits, l);
        }
        mark(c, l, S_ATTENTION);
        continue;
      }
      if (MARKS) mark(c, l, at == OUT_AT ? S_OUT : at < DOWN_AT ? S_GATE_UP : S_DOWN);
    }
  }
};

// Logits, or what is drawn from them. They depend on nothing but the last layer, so their rows stream without a pause.
DEVICE void head_stage(Consumer& c, Drawing& drawing) {
  constexpr int N = (PARTS + TEAM - 1) / TEAM;
  const Arguments& p = c.p;
  const Share mine = share<1>(VOCAB, LAYERS);
  Activations a;
  if (p.count) fence();  // keys and values are there for all who are to be told this block's best
  c.begin();
  c.load_normed<HEAD_BITS, WIDTH, HEAD_CHUNK>(a, c.at(LAYERS - 1).stream, p.norm, S_HEAD, LAYERS);
  mark(c, LAYERS, S_HEAD + RECEIVED);
  for (int first = 0; first < mine.count; first += PARTS) {
    const Share rows = part_of(mine, first);
    const int i = thread_anew(), b = i / TEAM, member = i % TEAM;
    const float* scales = (const float*)p.head.scales + rows.first;
    float scale[HEAD_BITS == 8 ? N : 1];
#pragma unroll
    for (int n = 0; n < (HEAD_BITS == 8 ? N : 0); n++)
      if (member + n * TEAM < rows.count) scale[n] = scales[member + n * TEAM];
    c.products<HEAD_BITS, HEAD_CHUNK, HEADWIDE>(quads_of(rows.count), false, a);
    barrier(1, CONSUMERS);
#pragma unroll
    for (int n = 0; n < N; n++) {
      const int row = member + n * TEAM;
      if (row >= rows.count || b >= p.rows) continue;
      const float logit = c.total(row, b) * unpacked(HEAD_BITS) * (HEAD_BITS == 8 ? scale[n] : 1) * c.norm_scale(b);
      if (p.count)
        drawing.consider(b, logit, rows.first + row);
      else
        p.logits[(u64)b * VOCAB + rows.first + row] = logit;
    }
    c.half ^= 1;
  }
}

DEVICE void consume(const Arguments& p, const Shared& s, int epoch) {
  Consumer c(p, s);
  mark(c, LAYERS, 0);
#pragma unroll 1
  for (c.turn = epoch;; c.turn = (c.turn + 1) % TURNS, c.token++) {
    const Splits splits = choose_splits(&c.row(0), p.rows);
#pragma unroll 1
    for (int l = 0; l < LAYERS; l++) Products(c, l).run(splits);
    Drawing drawing(c);
    head_stage(c, drawing);
    if (p.count && drawing.finish()) continue;
    if (!p.count) barrier(1, CONSUMERS);
    break;
  }
  // This block's warps have seen what every block wrote, so all have begun: the epoch may move on.
  if (block() == 0 && thread() == 0) *p.epoch = (c.turn + 1) % TURNS;
  mark(c, LAYERS, S_HEAD);
}

// The warp that is left: between two tokens it meets the consumers, before and after the draw.
DEVICE void tidy(const Arguments& p, const Shared& s, int epoch) {
  for (int t = 0;; t++) {
    clear(p, (epoch + t) % TURNS, thread() - TIDY, THREADS - TIDY);
    if (!p.count) return;
    fence();
    barrier(2, THREADS - PRODUCERS * 32);
    barrier(2, THREADS - PRODUCERS * 32);
    if (!*s.going) return;
  }
}

KERNEL(THREADS) decode(const __grid_constant__ Arguments p) {
  if (reported(p.error)) return;  // an earlier launch failed: what the blocks exchanged cannot be trusted
  const Shared s = carve();
  const int warp = thread() / 32, tokens = p.count ? p.count : 1;
  if (thread() == 0) {
    for (int i = 0; i < SLOTS; i++) {
      mbar_init(s.full + i, 1);
      mbar_init(s.empty + i, WARPS);
    }
    mbar_init(s.drawn, 1);
    *s.calm = 0;
    for (int i = 0; i < PRODUCERS; i++) mbar_init(s.turns + i, 1);
    for (int i = 0; i < (PAIRED > 1 ? 2 : 0); i++) mbar_init(s.heard + i, 1);
    mbars_visible();
  }
  for (int i = thread(); i < tokens * p.rows; i += THREADS)
    s.rows[i / p.rows * ROWS + i % p.rows] = read_row(p, i / p.rows, i % p.rows);
  if (p.count && thread() < p.rows)
    s.wishes[thread()] = {p.seeds[thread()], p.begin[thread()], p.temperature[thread()]};
  const int epoch = *p.epoch;
  block_barrier();
  if (PAIRED > 1) pair_barrier();
  if (warp >= WARPS) {
    leave_registers<72>();
    if (thread() < TIDY)
      Producer(p, s, warp - WARPS).run();
    else
      tidy(p, s, epoch);
  } else {
    take_registers<216>();
    consume(p, s, epoch);
  }
  if (PAIRED > 1) pair_barrier();  // nobody ends while the other may still tell it something
}
