// The producers stream weights and cached keys and values through the ring, in the order in which they are used; they know
// of no dependency. Each walks through all tiles and copies every PRODUCERS-th: to find a tile and to ask for its copies
// takes one warp longer than memory takes to bring it. Slots are opened one after the other, as if there were one producer.
#pragma once
#include "shape.cuh"

constexpr int QKV_TILES =
    ((QKV + PAIRS - 1) / PAIRS + tile_rows(BITS, WIDTH_CHUNK) - 1) / tile_rows(BITS, WIDTH_CHUNK) * (WIDTH / WIDTH_CHUNK / PAIRED);
struct Producer {
  const Arguments& p;
  const Shared& s;
  int tile, mine;  // mine: the next tile that is this producer's
  u64 once;
  u8* slot;
  u64* full;

  DEVICE Producer(const Arguments& p, const Shared& s, int which)
      : p(p), s(s), tile(0), mine(which), once(read_once()) {}

  DEVICE static int lane() { return thread_anew() % 32; }

  // Whether the next tile is this producer's. If so, take its slot for `bytes`: not before its last tile was used, nor while
  // `ahead` tiles are still on their way. While the block waits for others and tiles pile up, fewer may be: what it waits for
  // would queue behind them.
  DEVICE bool open(u32 bytes, int ahead = AHEAD) {
    if (tile != mine) return tile++, false;
    mine += PRODUCERS;
    int at = tile % SLOTS;
    slot = s.ring + at * SLOT;
    full = s.full + at;
    if (lane() == 0) {
      const int which = tile % PRODUCERS;
      if (tile) await(p, s.turns + which, tile / PRODUCERS - (which == 0), S_SLOT);
      const int old = tile - PILE;
      const int last = tile - (old >= 0 && *s.calm && !mbar_over(s.empty + old % SLOTS, old / SLOTS) ? CALM : ahead);
      if (last >= 0) await(p, s.full + last % SLOTS, last / SLOTS, S_ARRIVAL);
      if (tile >= SLOTS) await(p, s.empty + at, tile / SLOTS - 1, S_SLOT);
      mbar_expect(full, bytes);
      mbar_arrive(s.turns + (which + 1) % PRODUCERS);
    }
    warp_barrier();
    tile++;
    return true;
  }

  // n neighbouring rows of a chunk of a row-major matrix with K columns, to the tile's row `to` on, by the lanes from
  // `first` on.
  template <int B, int K, int CHUNK>
  DEVICE void copy(const Matrix& m, int chunk, int from, int n, int to, int first) {
    constexpr int BYTES = row_bytes(B, CHUNK), SCALES = group_bytes(B, CHUNK), MOST = tile_rows(B, CHUNK);
    int i = lane() - first;
    if (i < 0 || i >= (K == CHUNK ? 1 : n)) return;
    if (K != CHUNK) n = 1;
    from += i, to += i;
    bulk_copy_once(slot + to * BYTES, m.data + (u64)from * row_bytes(B, K) + chunk * BYTES, n * BYTES, full, once);
    if (B == 4) {
      const u64 at = (u64)from * group_bytes(B, K) + chunk * SCALES;
      u8* scales = slot + MOST * BYTES + to * SCALES;
      bulk_copy_once(scales, (const u8*)m.scales + at, n * SCALES, full, once);
      bulk_copy_once(scales + MOST * SCALES, (const u8*)m.zeros + at, n * SCALES, full, once);
    }
  }
  // Rows, chunk by chunk of their columns.
  template <int B, int K, int CHUNK>
  DEVICE void rows(const Matrix& m, Share share, int ahead = AHEAD) {
    constexpr int MOST = tile_rows(B, CHUNK), SHARERS = sharers(CHUNK);
    for (int c = SHARERS > 1 ? rank() : 0; c < K / CHUNK; c += SHARERS)
      for (int i = 0; i < share.count; i += MOST) {
        int n = share.count - i < MOST ? share.count - i : MOST;
        if (!open(n * (row_bytes(B, CHUNK) + 2 * group_bytes(B, CHUNK)), ahead)) continue;
        copy<B, K, CHUNK>(m, c, share.first + i, n, 0, 0);
      }
  }
  // Pairs of gate and up rows: a tile's first half is gate, its second up.
  template <int B, int K, int CHUNK>
  DEVICE void pairs(const Matrix& m, Share share) {
    constexpr int MOST = tile_rows(B, CHUNK) / 2, SHARERS = sharers(CHUNK);
    for (int c = SHARERS > 1 ? rank() : 0; c < K / CHUNK; c += SHARERS)
      for (int i = 0; i < share.count; i += MOST) {
        int n = share.count - i < MOST ? share.count - i : MOST;
        if (!open(2 * n * (row_bytes(B, CHUNK) + 2 * group_bytes(B, CHUNK)))) continue;
        copy<B, K, CHUNK>(m, c, share.first + i, n, 0, 0);
        copy<B, K, CHUNK>(m, c, HIDDEN + share.first + i, n, MOST, 16);
      }
  }

  // Nobody will use the tiles from there on, but a block must not end while they are on their way.
  DEVICE void settle(int first) {
    for (; first < tile; first++) await(p, s.full + first % SLOTS, first / SLOTS, S_ARRIVAL);
  }

  // A unit's cached keys and values: a lane for each page, keys in the slot's first half. `ids`: the unit's first 32 pages.
  DEVICE void cached(const Layer& layer, const Unit& unit, int ids) {
    constexpr int BYTES = PAGE * DIM * 2;
    for (int i = 0; i < unit.pages; i += TILE_PAGES) {
      if (i && i % 32 == 0) ids = page_ids(unit, i);
      int n = unit.pages - i < TILE_PAGES ? unit.pages - i : TILE_PAGES;
      if (!open(2 * n * BYTES)) continue;
      int page = shuffle(ids, (i + lane() % TILE_PAGES) % 32);
      if (lane() < n) {
        u64 from = ((u64)page * KV_HEADS + unit.head) * PAGE * DIM;
        bulk_copy(slot + lane() * BYTES, layer.keys + from, BYTES, full);
        bulk_copy(slot + (TILE_PAGES + lane()) * BYTES, layer.values + from, BYTES, full);
      }
    }
  }
  DEVICE int page_ids(const Unit& unit, int from) const {
    int i = from + lane();
    return i < unit.pages ? p.pages[(u64)unit.row * p.pages_stride + unit.first_page + i] : 0;
  }

  // All tokens of a launch. Of the next one only what fits into the ring goes ahead, until it is known that there is one;
  // then, too, what this one wrote to the cache is there to be read.
  DEVICE void run() {
    for (int t = 0;; t++) {
      const Row* rows = s.rows + t * ROWS;
      token(rows, choose_splits(rows, p.rows), t);
      if (!going) break;
      if (t + 1 >= (p.count ? p.count : 1)) break;
    }
  }
  bool going = true;
  DEVICE void await_draw(int t) {
    await(p, s.drawn, t - 1, S_DRAW);
    going = *s.going;
    fence();
  }
  DEVICE void token(const Row* rows_of, const Splits& splits, int t) {
    const int begun = tile;
    if (t && QKV_TILES > SLOTS) await_draw(t);
    if (!going) return;
    for (int l = 0; l < LAYERS; l++) {
      const Layer& layer = p.layers[l];
      int u = first_unit(l), ids = 0;
      Unit mine;
      if (u < splits.units) {
        mine = unit(rows_of, splits, u);
        ids = page_ids(mine, 0);  // asked for early: the tiles of qkv go first
      }
      rows<BITS, WIDTH, WIDTH_CHUNK>(layer.qkv, share(QKV, l));
      if (t && l == 0 && QKV_TILES <= SLOTS) {
        await_draw(t);
        if (!going) return settle(begun);
      }
      for (; u < splits.units; u += GRID) {
        if (u >= GRID) {
          mine = unit(rows_of, splits, u);
          ids = page_ids(mine, 0);
        }
        cached(layer, mine, ids);
      }
      rows<BITS, MIXED, MIXED_CHUNK>(layer.out, share(WIDTH, 0));
      for (int c = 0; c < FLUSHES; c++) {
        Share pairs_of = share(TOLD, l + c);
        pairs_of.first += c * TOLD;
        pairs<BITS, WIDTH, WIDTH_CHUNK>(layer.gate_up, pairs_of);
      }
      rows<BITS, HIDDEN, HIDDEN_CHUNK>(layer.down, share(WIDTH, 0), DOWN_AHEAD);
    }
    const Share mine = share<1>(VOCAB, LAYERS);
    for (int i = 0; i < mine.count; i += PARTS) rows<HEAD_BITS, WIDTH, HEAD_CHUNK>(p.head, part_of(mine, i));
  }
};

// A part of the exchange, made ABSENT again by the warps that have nothing else to do: that of the token before, which all
// blocks have done with when this one begins. Of the winners that of the token before that: somebody may still be reading.
DEVICE void absent(uint4* from, u64 n, int helper, int helpers) {
  for (u64 i = (u64)block() * helpers + helper; i < n; i += (u64)GRID * helpers)
    from[i] = make_uint4(ABSENT, ABSENT, ABSENT, ABSENT);
}
DEVICE void clear(const Arguments& p, int turn, int helper, int helpers) {
  constexpr u64 N = (u64)LAYERS * Exchange::WORDS / 4, W = WINNERS / 4;
  absent((uint4*)p.exchange + (turn + 2) % TURNS * N, N, helper, helpers);
  absent((uint4*)p.winners + (turn + 1) % TURNS * W, W, helper, helpers);
}
