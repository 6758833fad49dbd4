// Products of a block's rows with the activations, on the tensor cores, from tiles in the ring.
// A matrix instruction multiplies 16 x 16 weights by 16 x COLUMNS activations. Its 16 rows are 4 rows of the matrix times 4
// slices of K side by side; a slice meets its own activations in columns of its own, and the rest of what comes out is
// not looked at. So one row of activations keeps the whole width of the instruction busy, and eight rows need four.
#pragma once
#include "shape.cuh"

constexpr int WIDE = WIDTH / WIDTH_CHUNK / PAIRED, MIXES = MIXED / MIXED_CHUNK / PAIRED, HEADWIDE = WIDTH / HEAD_CHUNK;
constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int blocks_held(int bits) {
  return larger(larger(WIDE * steps(bits, WIDTH_CHUNK), MIXES * steps(bits, MIXED_CHUNK)), steps(bits, OWN ? HIDDEN : HIDDEN_CHUNK));
}
// A lane's activations for a product: for each chunk of K, step, group and block eight neighbouring columns, as bf16.
constexpr int HELD = GROUPS * larger(blocks_held(BITS) * eights(BITS), HEADWIDE * steps(HEAD_BITS, HEAD_CHUNK) * eights(HEAD_BITS));
constexpr int BLOCKS_HELD = larger(blocks_held(BITS), HEADWIDE * steps(HEAD_BITS, HEAD_CHUNK));
struct Activations {
  uint4 v[HELD];
  float sums[BLOCKS_HELD][GROUPS][2];  // of a block: what the weights' zeros are to be multiplied by, or have been
  float scale;                         // of whole numbers, see `whole_numbers`
};
// One row of activations and packed weights are multiplied as whole numbers: a column of the instruction has the upper bytes
// of activations of 16 bits, the next one, which would be empty, the lower. A warp's 256 columns of a chunk share a scale:
// rounding them all adds at most an eighth of what rounding the largest to bf16 had done before (in standard deviations).
constexpr bool whole_numbers(int bits) { return ROWS == 1 && bits < 16; }
// A lane asks for every second eight of its columns, its neighbour with the other bytes for the others.
constexpr int asked(int bits) { return whole_numbers(bits) ? eights(bits) / 2 : eights(bits); }
constexpr float LARGEST = 127 * 256;  // so that the upper byte has no carry
constexpr u32 SMALLEST = 0x0d80;      // 2^-100 as bf16: what has a reciprocal
constexpr float ROUNDER = 12582912;   // 3 * 2^22: what is added to it is rounded, and its low bits are that number
// Packed weights are multiplied as they are: the bits 00uu are the bf16 number u * 2^-133, subnormal if u < 128. Activations
// are enlarged for that, by 16 less where four bits stand above four others, and the result is to be: see `unpacked`.
constexpr u32 ENLARGED = 0x5f805f80u, ENLARGED_LESS = 0x5d805d80u;  // 2^64 and 2^60, twice each
// What activations are multiplied by to be summed: for bytes -128, since they are taken for so much more than they are.
constexpr u32 summed(int bits, int e) { return bits == 8 ? 0x80808080u : e ? 0x00100010u : 0x00010001u; }
// What is left to multiply a result by.
constexpr float unpacked(int bits) { return bits == 16 || whole_numbers(bits) ? 1 : 0x1p69f; }

constexpr int TEAM = CONSUMERS / ROWS;  // threads that finish what belongs to one row of the batch

struct Consumer {
  const Arguments& p;
  const Shared& s;
  int turn = 0;  // of the exchange
  int heard = 0;  // how often the pair's other block was listened to
  int token = 0;  // of the launch
  int warp, lane, g, t;  // g, t: the lane's row (or column) and its quarter in a matrix instruction
  int tile, half;        // half: which half of `parts` is being filled

  DEVICE Consumer(const Arguments& p, const Shared& s) : p(p), s(s), tile(0), half(0) { begin(); }

  // The start of a stage.
  DEVICE void begin() {
    const int i = thread_anew();
    warp = i / 32, lane = i % 32, g = lane / 4, t = lane % 4;
  }
  DEVICE const Row& row(int b) const { return s.rows[token * ROWS + b]; }
  DEVICE Exchange at(int layer) const { return exchange(p, turn, layer); }

  DEVICE const u8* wait_for(int tile) const {
    const int at = tile % SLOTS;
    await(p, s.full + at, tile / SLOTS, S_ARRIVAL);
    return s.ring + at * SLOT;
  }
  DEVICE void free_tiles(int count) {
    warp_barrier();
    if (lane < count) mbar_arrive(s.empty + (tile + lane) % SLOTS);
    tile += count;
  }

  // Where lane (g, t) finds activations: column g is row `row_of_column` of the batch and slice `slice(group)` of K.
  template <int B>
  DEVICE int row_of_column() const { return whole_numbers(B) ? 0 : g % COLUMNS; }
  template <int B>
  DEVICE int slice(int group) const {
    return B == 16 && COLUMNS == 2 ? g / 4 + g / 2 % 2 * 2 : group * (8 / COLUMNS) + g / COLUMNS;
  }
  // Warps take blocks of a chunk in turns; of all hidden units (a CHUNK that is no tile's) each has neighbours of its own.
  static constexpr bool own(int chunk) { return OWN && chunk == HIDDEN; }
  template <int B, int CHUNK>
  DEVICE int block_of(int step, int slice) const {
    return (own(CHUNK) ? warp * steps(B, CHUNK) + step : step * WARPS + warp) * SLICES + slice;
  }
  // Where it begins in its tile's rows.
  template <int B, int CHUNK>
  DEVICE int in_tile(int step, int slice) const {
    const int k = block_of<B, CHUNK>(step, slice) * block_columns(B);
    return own(CHUNK) ? k % HIDDEN_CHUNK : k;
  }

  // Where the n-th of a lane's eights begins in a row, or -1.
  template <int B, int CHUNK>
  DEVICE int column(int n) const {
    constexpr int E = asked(B), S = steps(B, CHUNK);
    if (whole_numbers(B)) {  // see `multiply_bytes`
      const int k = block_of<B, CHUNK>(n % S, B == 8 ? g % 2 * 2 + g / 4 : g / 2) * block_columns(B);
      return k < CHUNK ? chunk_of<CHUNK>(n / S) + k + (B == 8 ? t * 16 + g / 2 % 2 * 8 : t * 8 + g % 2 * 32) : -1;
    }
    const int e = n % E, k = block_of<B, CHUNK>(n / E / GROUPS % S, slice<B>(n / E % GROUPS)) * block_columns(B);
    const int within = B == 16 ? t * 8 : B == 8 ? t * 16 + e * 8 : t * 8 + e * 32;
    return k < CHUNK ? chunk_of<CHUNK>(n / (E * GROUPS * S)) + k + within : -1;
  }
  // Where this block's n-th chunk of a row begins.
  template <int CHUNK>
  DEVICE static int chunk_of(int n) {
    constexpr int SHARERS = sharers(CHUNK);
    return SHARERS > 1 ? (n * SHARERS + rank()) * CHUNK : n * CHUNK;
  }
  // Ask for activations that are bf16 already: [rows][K], N chunks from `column` on.
  template <int B, int K, int CHUNK, int N>
  DEVICE void ask(Words<N * steps(B, CHUNK) * GROUPS * asked(B), true>& a, const u16* from, int column) {
    a.base = (const u8*)from;
#pragma unroll
    for (int n = 0; n < N * steps(B, CHUNK) * GROUPS * asked(B); n++) {
      const int k = this->column<B, CHUNK>(n);
      if (k >= 0 && row_of_column<B>() < p.rows)
        a.want(n, told_at(row_of_column<B>(), column + k, K) * 2);
      else
        a.skip(n);
    }
    a.ask();
  }
  template <int B, int N>
  DEVICE void take(Activations& to, Words<N, true>& a, int stage, int layer) {
    a.receive(p, stage, layer);
#pragma unroll
    for (int n = 0; n < N; n++) to.v[n] = arranged<B>(a.v[n], n);
    finish<B, N>(to);
  }
  // Eight columns in the order in which packed weights are unpacked: 0 2, 1 3, 4 6, 5 7.
  template <int B>
  DEVICE uint4 arranged(uint4 v, int n) const {
    if (B == 16) return halves(v);
    if (whole_numbers(B)) return v;
    const u32 by = B == 4 && n % 2 ? ENLARGED_LESS : ENLARGED;
    return make_uint4(times(v.x & 0xffff | v.y << 16, by), times(v.x >> 16 | v.y & 0xffff0000u, by),
                      times(v.z & 0xffff | v.w << 16, by), times(v.z >> 16 | v.w & 0xffff0000u, by));
  }
  // Of 16 bits: the pairs of columns 0 2 are of one slice, 1 3 of another (see `dense`). Who has one row in two slices gets
  // the halves of both blocks from who has the others; with eight rows a lane has all.
  DEVICE uint4 halves(uint4 v) const {
    // The compiler must not see that these are copies: it would make them anew before each matrix instruction.
    const u32 nothing = (u32)p.rows >> 8;
    if (COLUMNS == 8) return make_uint4(v.x, v.z ^ nothing, v.y ^ nothing, v.w);
    const bool second = g / COLUMNS % 2;
    const u32 x = swapped(second ? v.x : v.y), y = swapped(second ? v.z : v.w);
    return second ? make_uint4(x, y, v.y, v.w) : make_uint4(v.x, v.z, x, y);
  }
  DEVICE static u32 swapped(u32 v) { return as_bits(shuffle_xor(as_float(v), 4 * COLUMNS)); }
  template <int B, int N>
  DEVICE void finish(Activations& a) const {
    if constexpr (whole_numbers(B))
      to_whole_numbers<B, N>(a);
    else
      add_up<B, N>(a);
  }
  // Of every sixteen columns the upper bytes, or the lower, in the order of the columns.
  template <int B, int N>
  DEVICE void to_whole_numbers(Activations& a) const {
    u32 most = SMALLEST | SMALLEST << 16;
#pragma unroll
    for (int n = 0; n < N; n++)
      most = larger_halves(larger_halves(most, larger_halves(a.v[n].x & 0x7fff7fffu, a.v[n].y & 0x7fff7fffu)),
                           larger_halves(a.v[n].z & 0x7fff7fffu, a.v[n].w & 0x7fff7fffu));
    most = largest_of_lanes(most >> 16 > (most & 0xffff) ? most >> 16 : most & 0xffff);
    const float peak = as_float(most << 16), by = LARGEST * reciprocal(peak);
    a.scale = peak * (1 / LARGEST);
#pragma unroll
    for (int n = 0; n < N; n++) {
      uint4 v = both_bytes(a.v[n], by);
      if (B == 8) cross(v.x, v.y), cross(v.z, v.w);
      a.v[n] = v;
      if (B == 8) continue;
      int d[4] = {0, 0, 0, 0};
      mma_whole(d, 0x01010101u, 0x01010101u, 0x01010101u, 0x01010101u, v.x, v.y);
      mma_whole(d, 0x01010101u, 0x01010101u, 0x01010101u, 0x01010101u, v.z, v.w);
      a.sums[n][0][0] = d[0] * 256 + d[1];
    }
  }
  // Of this lane's eight columns and its neighbour's the upper bytes, or the lower: it gets those of the others for what it
  // has of the other kind. Upper bytes are rounded, so that lower ones are signed.
  DEVICE uint4 both_bytes(uint4 v, float by) const {
    const bool lower = g % 2;
    const uint2 a = bytes(v.x, v.y, by), b = bytes(v.z, v.w, by);
    const u32 p = shuffle(lower ? a.y : a.x, lane ^ 4), q = shuffle(lower ? b.y : b.x, lane ^ 4);
    return lower ? make_uint4(p, q, a.x, b.x) : make_uint4(a.y, b.y, p, q);
  }
  // Of four columns the lower bytes and the upper.
  DEVICE static uint2 bytes(u32 x, u32 y, float by) {
    constexpr float ROUNDED = ROUNDER + 128;
    const u32 a = bytes_of(as_bits(low(x) * by + ROUNDED), as_bits(high(x) * by + ROUNDED), 0x5140);
    const u32 b = bytes_of(as_bits(low(y) * by + ROUNDED), as_bits(high(y) * by + ROUNDED), 0x5140);
    return uint2{bytes_of(a, b, 0x5410) ^ 0x80808080u, bytes_of(a, b, 0x7632)};
  }
  // Of sixteen columns, which two lanes have, one takes the first four of each eight, the other the second.
  DEVICE void cross(u32& first, u32& second) const {
    const bool later = g / 2 % 2;
    const u32 got = shuffle(later ? first : second, lane ^ 8);
    first = later ? got : first, second = later ? second : got;
  }
  template <int B, int N>
  DEVICE static void add_up(Activations& a) {
    if (B == 16) return;
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      float d[4] = {0, 0, 0, 0};
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const u32 by = summed(B, e);
        mma(d, by, by, by, by, a.v[n + e].x, a.v[n + e].y);
        mma(d, by, by, by, by, a.v[n + e].z, a.v[n + e].w);
      }
      a.sums[n / 2 / GROUPS][n / 2 % GROUPS][0] = d[0], a.sums[n / 2 / GROUPS][n / 2 % GROUPS][1] = d[1];
    }
  }

  // The residual stream's rows times the norm's weight. What the norm divides by is a factor of a whole row: the squares
  // are summed on the way, and `norm_scale` is applied to what comes out of the product.
  template <int B, int K, int CHUNK>
  DEVICE void load_normed(Activations& a, const u16* from, const u16* norm, int stage, int layer) {
    constexpr int ALL = K / CHUNK / sharers(CHUNK) * steps(B, CHUNK) * GROUPS * asked(B);
    constexpr bool EARLY = ALL <= 8;  // the weights can wait in registers
    const int row = row_of_column<B>();
    Words<ALL, true> h(from);
    uint4 w[ALL];
    if (EARLY) load_norm<B, CHUNK>(w, norm);
#pragma unroll
    for (int n = 0; n < ALL; n++) {
      const int k = column<B, CHUNK>(n);
      h.skip(n);
      if (k < 0 || row >= p.rows) continue;
      if (from) {
        h.want(n, told_at(row, k, K) * 2);
      } else {  // the first layer's stream is the embedding
        const int token = this->row(row).token;
        h.v[n] = embedded8(p, token, k, table_scale(p, token));
      }
    }
    h.ask();
    h.receive(p, stage, layer);
    if (!EARLY) load_norm<B, CHUNK>(w, norm);
    float squares = 0;
#pragma unroll
    for (int n = 0; n < ALL; n++) {
      const uint4 x = h.v[n];
      a.v[n] = arranged<B>(make_uint4(weighted(x.x, w[n].x, squares), weighted(x.y, w[n].y, squares),
                                      weighted(x.z, w[n].z, squares), weighted(x.w, w[n].w, squares)), n);
    }
    finish<B, ALL>(a);
    squares += shuffle_xor(squares, 1);
    squares += shuffle_xor(squares, 2);
#pragma unroll
    for (int mask = whole_numbers(B) ? 4 : 4 * COLUMNS; mask < 32; mask *= 2) squares += shuffle_xor(squares, mask);
    if (t == 0 && g < COLUMNS) s.sums[warp * COLUMNS + g] = squares;
  }
  template <int B, int CHUNK, int N>
  DEVICE void load_norm(uint4 (&w)[N], const u16* norm) const {
#pragma unroll
    for (int n = 0; n < N; n++) {
      int k = column<B, CHUNK>(n);
      w[n] = make_uint4(0, 0, 0, 0);
      if (k >= 0) w[n] = *(const uint4*)(norm + k);
    }
  }
  DEVICE static u32 weighted(u32 pair, u32 w, float& squares) {
    const float a = low(pair), b = high(pair);
    squares += a * a + b * b;
    return pack(a * low(w), b * high(w));
  }
  // Once all warps have summed their squares.
  DEVICE float squares(int row) const {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += s.sums[w * COLUMNS + row];
    return sum;
  }
  DEVICE float norm_of(float squares) const { return rsqrtf(squares / WIDTH + p.eps); }
  DEVICE float norm_scale(int row) const { return norm_of(squares(row)); }

  // A quad of a tile: d[group] = this warp's part of four rows. A lane has the rows `row` + g / SLICES and `below` further.
  // The chunk's activations stand from block AT on.
  template <int B, int CHUNK, int AT>
  DEVICE void multiply(float (&d)[GROUPS][4], const u8* tile, int row, int below, const Activations& a) const {
    constexpr int E = eights(B), STRIDE = WARPS * SLICES * block_columns(B), BYTES = row_bytes(B, CHUNK);
    const int k = block_of<B, CHUNK>(0, g % SLICES) * block_columns(B);
    row += g / SLICES;
    const u8* from = tile + row * BYTES + row_bytes(B, k) + t * (B == 4 ? 8 : 16);
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
      d[j][0] = d[j][1] = d[j][2] = d[j][3] = 0;
      if (B == 8)  // bytes are taken for 128 more than they are
#pragma unroll
        for (int i = 0; i < steps(B, CHUNK) * 4; i++) d[j][i % 4] += a.sums[AT + i / 4][j][i % 2];
    }
#pragma unroll
    for (int i = 0; i < steps(B, CHUNK); i++) {
      const bool valid = CHUNK % STRIDE == 0 || k + i * STRIDE < CHUNK;
      const u8 *top = from + row_bytes(B, i * STRIDE), *bottom = top + below * BYTES;
      const uint4* x = a.v + (AT + i) * GROUPS * E;
      if (B == 8)
        bytes(d, valid, top, bottom, x);
      else {
        const u8* scales = tile + tile_rows(4, CHUNK) * BYTES + row * group_bytes(4, CHUNK) + (k + i * STRIDE) / GROUPED * 2;
        nibbles(d, valid, top, bottom, scales, tile_rows(4, CHUNK) * group_bytes(4, CHUNK), below * group_bytes(4, CHUNK), x,
                a.sums[AT + i]);
      }
    }
  }
  // A quad of 16-bit weights. Rows g and g + 8 of the instruction are one row of the matrix: what lies in eight of its
  // neighbouring columns is what a lane gives, and no register is moved. So a slice has half of the columns of two blocks.
  template <int CHUNK, int AT>
  DEVICE void dense(float (&d)[GROUPS][4], const u8* tile, int row, int below, const Activations& a) const {
    constexpr int COLUMNS_OF = 32, STRIDE = WARPS * SLICES * COLUMNS_OF;
    const int k = block_of<16, CHUNK>(0, g % 2) * COLUMNS_OF;
    const u8* from = tile + (row + g / 2 % 2 + g / 4 * below) * row_bytes(16, CHUNK) + row_bytes(16, k) + t * 16;
#pragma unroll
    for (int j = 0; j < GROUPS; j++) d[j][0] = d[j][1] = d[j][2] = d[j][3] = 0;
#pragma unroll
    for (int i = 0; i < steps(16, CHUNK) * 2; i++) {
      const int at = i / 2 * STRIDE + i % 2 * 2 * COLUMNS_OF;
      uint4 w = make_uint4(0, 0, 0, 0);
      if (CHUNK % STRIDE == 0 || k + at < CHUNK) w = *(const uint4*)(from + row_bytes(16, at));
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        const int half = i % 2 * GROUPS + j;
        const uint4 x = a.v[(AT + i / 2) * GROUPS + half / 2];
        mma(d[j], w.x, w.y, w.z, w.w, half % 2 ? x.z : x.x, half % 2 ? x.w : x.y);
      }
    }
  }
  // Sum its slices, of Q quads: of every two values that two lanes are to add, each adds one. A lane ends with one row of one
  // quad and of the batch, and puts it (or adds it) into `parts`. Lanes that hold nothing meet none that hold something.
  template <int Q>
  DEVICE void gather(const float (&d)[Q][GROUPS][4], int quad, bool add) {
    constexpr int EACH = ROWS == 1 ? 2 : 1, VALUES = (Q + EACH - 1) / EACH;  // quads in one value
    const int second = g % 2, upper = COLUMNS == 4 ? t / 2 : t % 2;
    float v[VALUES];
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
      if (COLUMNS == 8)
        v[i] = halved(slices(d[i], 0), slices(d[i], 1), second, 4);
      else if (ROWS > 1)
        v[i] = halved(slices(d[i], 0), slices(d[i], 1), upper, COLUMNS / 2);
      else
        v[i] = 2 * i + 1 < Q ? halved(slices(d[2 * i], 0), slices(d[(2 * i + 1) % Q], 0), upper, 1)
                             : slices(d[2 * i], 0) + shuffle_xor(slices(d[2 * i], 0), 1);
    }
    const int b = COLUMNS == 8 ? 2 * t + second : COLUMNS == 4 ? t % 2 * 2 + upper : ROWS > 1 ? upper : 0;
    constexpr int STEP = COLUMNS == 8 ? 1 : 2, ACROSS = COLUMNS == 4 ? 4 : 6;
#pragma unroll
    for (int i = 0; i < VALUES; i += STEP) {
      float sum = v[i];
      if (COLUMNS < 8) sum = i + 1 < VALUES ? halved(v[i], v[(i + 1) % VALUES], second, ACROSS) : sum + shuffle_xor(sum, ACROSS);
      const int mine = COLUMNS == 8 ? i : (i + second) * EACH + (ROWS == 1 ? upper : 0);
      if (mine >= Q || (COLUMNS == 2 && t / 2 != second)) continue;
      float* to = part(warp, (quad + mine) * QUAD + g / 2, b);
      *to = add ? *to + sum : sum;
    }
  }
  // A lane's own part of a column: of what it has of both its slices the valid one, or the sum where both are.
  DEVICE float slices(const float (&d)[GROUPS][4], int column) const {
    const bool second = g % 2;
    if (COLUMNS == 8) return (second ? d[2 % GROUPS][column] : d[0][column]) + (second ? d[3 % GROUPS][2 + column] : d[1 % GROUPS][2 + column]);
    if (COLUMNS == 2) return t % 2 ? d[0][2 + column] : d[0][column];
    const float low = second ? d[1 % GROUPS][column] : d[0][column], high = second ? d[1 % GROUPS][2 + column] : d[0][2 + column];
    return t / 2 ? high : low;
  }
  // Bytes 0 and 2 with 128 added, in halves of their own.
  DEVICE static u32 whole(u32 v) { return flipped(v, 0x00ff00ffu, 0x00800080u); }
  DEVICE static void bytes(float (&d)[GROUPS][4], bool valid, const u8* from, const u8* below, const uint4* x) {
    uint4 top = make_uint4(0, 0, 0, 0), bottom = top;
    if (valid) top = *(const uint4*)from, bottom = *(const uint4*)below;
    const u32 u[4] = {top.x, top.y, top.z, top.w}, v[4] = {bottom.x, bottom.y, bottom.z, bottom.w};
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const u32 w[4] = {whole(u[q]), whole(v[q]), whole(u[q] >> 8), whole(v[q] >> 8)};
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        const uint4 y = x[2 * j + q / 2];
        mma(d[j], w[0], w[1], w[2], w[3], q % 2 ? y.z : y.x, q % 2 ? y.w : y.y);
      }
    }
  }
  DEVICE static void nibbles(float (&d)[GROUPS][4], bool valid, const u8* from, const u8* below, const u8* scales, int zeros,
                             int under, const uint4* x, const float (&sums)[GROUPS][2]) {
    u32 u[2] = {0, 0}, v[2] = {0, 0};
    float s[2] = {0, 0}, z[2] = {0, 0};
    if (valid) {
      const uint2 top = *(const uint2*)from, bottom = *(const uint2*)below;
      u[0] = top.x, u[1] = top.y, v[0] = bottom.x, v[1] = bottom.y;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const u8* at = scales + i * under;
        s[i] = half_float(*(const u16*)at), z[i] = half_float(*(const u16*)(at + zeros));
      }
    }
    float e[GROUPS][4];
#pragma unroll
    for (int j = 0; j < GROUPS; j++) e[j][0] = e[j][1] = e[j][2] = e[j][3] = 0;
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const u32 mask = 0x000f000fu << q / 2 * 4;  // four bits of bytes 0 and 2, in halves of their own
      const u32 w[4] = {u[q % 2] & mask, v[q % 2] & mask, u[q % 2] >> 8 & mask, v[q % 2] >> 8 & mask};
#pragma unroll
      for (int j = 0; j < GROUPS; j++) {
        const uint4 y = x[2 * j + q / 2];
        mma(e[j], w[0], w[1], w[2], w[3], q % 2 ? y.z : y.x, q % 2 ? y.w : y.y);
      }
    }
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) d[j][i] += s[i / 2] * e[j][i] + z[i / 2] * sums[j][i % 2];
  }

  // The same for one row of 4-bit weights, and all quads of a tile. For each quad a lane reads another slice of K, so that
  // what it has in its own column, that of slice t, belongs to one quad, `own`: only that is scaled and added up.
  template <int CHUNK, int AT>
  DEVICE void multiply_nibbles(float (&sum)[2], const u8* tile, int quads, int each, int below, const Activations& a) const {
    constexpr int B = 4, STRIDE = WARPS * SLICES * block_columns(B), OF = own(CHUNK) ? HIDDEN_CHUNK : CHUNK;
    constexpr int BYTES = row_bytes(B, OF), SCALES = group_bytes(B, OF);
    const int own = t ^ g % SLICES;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < steps(B, CHUNK); i++) {
      int mine[2];
#pragma unroll
      for (int q = 0; q < SLICES; q++) {
        if (q >= quads) continue;
        const int k = in_tile<B, CHUNK>(i, g % SLICES ^ q);
        const u8* from = tile + (q * each + g / SLICES) * BYTES + row_bytes(B, k) + t * 8;
        int d[4] = {0, 0, 0, 0};
        uint2 u{0, 0}, v{0, 0};
        if (CHUNK % STRIDE == 0 || k < CHUNK) u = *(const uint2*)from, v = *(const uint2*)(from + below * BYTES);
        constexpr u32 M = 0x0f0f0f0fu;
        const uint4 x = a.v[AT + i];
        mma_whole(d, u.x & M, v.x & M, u.y & M, v.y & M, x.x, x.y);
        mma_whole(d, u.x >> 4 & M, v.x >> 4 & M, u.y >> 4 & M, v.y >> 4 & M, x.z, x.w);
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int both = d[2 * e] * 256 + d[2 * e + 1];
          mine[e] = q == 0 || own == q ? both : mine[e];
        }
      }
      const int k = in_tile<B, CHUNK>(i, t);
      const u8* at = tile + tile_rows(B, CHUNK) * BYTES + (own * each + g / SLICES) * SCALES + k / GROUPED * 2;
      if (CHUNK % STRIDE && k >= CHUNK) continue;
#pragma unroll
      for (int e = 0; e < 2; e++, at += below * SCALES)
        sum[e] += half_float(*(const u16*)at) * mine[e] +
                  half_float(*(const u16*)(at + tile_rows(B, CHUNK) * SCALES)) * a.sums[AT + i][0][0];
    }
  }
  // Its sums over the slices, into `parts`.
  DEVICE void keep_nibbles(float (&sum)[2], int quad, int quads, float scale, bool add) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      sum[e] += shuffle_xor(sum[e], 5);
      sum[e] += shuffle_xor(sum[e], 10);
    }
    if (g % SLICES || t >= quads) return;
#pragma unroll
    for (int e = 0; e < 2; e++) put(quad * QUAD + place<4>(t, g / SLICES, e), sum[e] * scale, add);
  }
  DEVICE void put(int row, float v, bool add) {
    float* to = part(warp, row, 0);
    *to = add ? *to + v : v;
  }

  // The same for bytes, of which a lane's sixteen go into one instruction as they come: its upper eight rows are the first
  // four of every eight columns, its lower eight rows the second four. So an instruction has two slices, not four, and of two
  // quads each lane has one, `own`, whose rows are g / 2; the column's `late` says of which of the eight.
  template <int CHUNK, int AT, int QUADS, int QUADS_OF_TILE>
  DEVICE float multiply_bytes(const u8* const* tiles, int each, int below, const Activations& a) const {
    constexpr int B = 8, STRIDE = WARPS * SLICES * block_columns(B), OF = own(CHUNK) ? HIDDEN_CHUNK : CHUNK, BYTES = row_bytes(B, OF);
    const int own = t / 2 ^ g % 2, late = t % 2;
    float sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < steps(B, CHUNK); i++) {
      int mine[2];
      const uint4 x = a.v[AT + i];
#pragma unroll
      for (int q = 0; q < QUADS; q++) {
        const int row = q % QUADS_OF_TILE * each + g / 2 % 2 + g / 4 * below;
        int d[4] = {0, 0, 0, 0};
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const int k = in_tile<B, CHUNK>(i, 2 * j + (g ^ q) % 2);
          uint4 w = make_uint4(0, 0, 0, 0);
          if (CHUNK % STRIDE == 0 || k < CHUNK) w = *(const uint4*)(tiles[q / QUADS_OF_TILE] + row * BYTES + k + t * 16);
          mma_whole(d, w.x, w.y, w.z, w.w, j ? x.z : x.x, j ? x.w : x.y);
        }
        const int v = late ? d[2] * 256 + d[3] : d[0] * 256 + d[1];
        mine[q / 2] = q % 2 == 0 || own ? v : mine[q / 2];
      }
#pragma unroll
      for (int h = 0; h < QUADS / 2; h++) sum[h] += mine[h];
    }
    const float v = QUADS > 2 ? halved(sum[0], sum[1], late, 1) : sum[0] + shuffle_xor(sum[0], 1);
    return v + shuffle_xor(v, 6);
  }
  DEVICE void keep_bytes(float sum, int quad, int quads, bool add) {
    const int late = t % 2;
    if (g % 2 == 0 && 2 * late < quads) put(quad * QUAD + place<8>(t / 2 + 2 * late, g / 2 % 2, g / 4), sum, add);
  }

  // Sum the slices: lanes with g % SLICES == 0 have the warp's part of a quad, in d[0].
  DEVICE bool valid() const {
    const int mine = g % SLICES;
    return COLUMNS == 2 ? t == mine : COLUMNS == 4 ? t / 2 == mine % 2 : true;
  }
  DEVICE void reduce(float (&d)[GROUPS][4]) const {
    constexpr int FIRST = COLUMNS == 2 ? 5 : COLUMNS == 4 ? 6 : 4, SECOND = COLUMNS == 2 ? 10 : 8;
    const int group = g % SLICES * COLUMNS / 8;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      if (ROWS == 1 && e % 2) continue;
      float v = d[0][e];
#pragma unroll
      for (int j = 1; j < GROUPS; j++) v = group == j ? d[j][e] : v;
      v += shuffle_xor(v, FIRST);
      d[0][e] = v + shuffle_xor(v, SECOND);
    }
  }
  // Put it (or add it) into `parts`.
  DEVICE void keep(const float (&d)[GROUPS][4], int row, bool add) {
    if (g % SLICES || !valid()) return;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int b = (COLUMNS == 8 ? 2 * t : COLUMNS == 4 ? 2 * (t % 2) : 0) + e % 2;
      if (ROWS == 1 && e % 2) continue;
      float* to = part(warp, row + g / SLICES + (e < 2 ? 0 : 2), b);
      *to = add ? *to + d[0][e] : d[0][e];
    }
  }
  // The same for Q quads at once where a slice has a column of its own for each row: of every two values that two lanes are
  // to add, each adds one. Lanes that hold nothing meet none that hold something; that of slice t ends with quad t.
  template <int Q>
  DEVICE void fold(const float (&d)[Q][GROUPS][4], int quad, bool add) {
    constexpr int STEP = ROWS == 1 ? 2 : 1;
    static_assert(Q <= SLICES, "a lane for each quad");
    float w[4];
#pragma unroll
    for (int e = 0; e < 4; e += STEP) {
      float v = Q > 1 ? halved(d[0][0][e], d[1 % Q][0][e], t & 1, 5) : d[0][0][e] + shuffle_xor(d[0][0][e], 5);
      if (Q > 2) v = halved(v, halved(d[2 % Q][0][e], d[3 % Q][0][e], t & 1, 5), t & 2, 10);
      w[e] = Q > 2 ? v : v + shuffle_xor(v, 10);
    }
    if (g % SLICES != t || t >= Q) return;
#pragma unroll
    for (int e = 0; e < 4; e += STEP) {
      float* to = part(warp, (quad + t) * QUAD + g / SLICES + (e < 2 ? 0 : 2), e % 2);
      *to = add ? *to + w[e] : w[e];
    }
  }
  DEVICE static float halved(float even, float odd, bool second, int mask) {
    return (second ? odd : even) + shuffle_xor(second ? even : odd, mask);
  }
  DEVICE float* part(int warp, int row, int b) const {
    if (BESIDE) return s.parts + ((half * PARTS_APART + row) * ROWS + b) * WARPS + warp;
    return s.parts + ((half * WARPS + warp) * ROWS + b) * PARTS_APART + row;
  }

  // From a quad's first row in a tile to the next one's, and from its second row to its third. A quad of `pairs` has two rows
  // of gate and two of up, which stand further down; with OWN all quads are like that, so that the compiler knows it.
  static constexpr int apart(bool pairs) { return OWN || pairs ? 2 : QUAD; }
  template <int B, int CHUNK>
  static constexpr int down(bool pairs) { return OWN || pairs ? 2 * span(B, CHUNK) : 2; }
  // Where a row of a batch's quad is among the sums, of its first two rows or its second: in the order of a tile's rows with
  // OWN, else quad by quad.
  template <int B>
  static constexpr int place(int quad, int row, int second) {
    constexpr int SPAN = 16 / B;
    return OWN ? quad / SPAN * SPAN * QUAD + quad % SPAN * 2 + row + second * 2 * SPAN : quad * QUAD + row + 2 * second;
  }

  // TILES tiles with QUADS quads each, all of which are on their way at once: there are few warps, so what they wait for
  // (a tile, shared memory, a matrix instruction, a shuffle) must hide behind the other quads.
  template <int B, int CHUNK, int AT, int TILES, int QUADS>
  DEVICE void batch(int quad, bool pairs, const Activations& a, bool add) {
    const int each = apart(pairs), below = down<B, CHUNK>(pairs);
    const u8* from[TILES];
#pragma unroll
    for (int i = 0; i < TILES; i++) from[i] = wait_for(tile + i);
    if constexpr (whole_numbers(B)) {
      multiply_whole<B, CHUNK, AT, TILES, QUADS, true>(from, quad, each, below, a, add);
    } else {
      float d[TILES * QUADS][GROUPS][4];
#pragma unroll
      for (int i = 0; i < TILES * QUADS; i++)
        if constexpr (B == 16)
          dense<CHUNK, AT>(d[i], from[i / QUADS], i % QUADS * each, below, a);
        else
          multiply<B, CHUNK, AT>(d[i], from[i / QUADS], i % QUADS * each, below, a);
      free_tiles(TILES);
      if constexpr (B == 16) return gather(d, quad, add);
      if constexpr (COLUMNS == 2) return fold(d, quad, add);
#pragma unroll
      for (int i = 0; i < TILES * QUADS; i++) reduce(d[i]);
#pragma unroll
      for (int i = 0; i < TILES * QUADS; i++) keep(d[i], (quad + i) * QUAD, add);
    }
  }
  template <int B, int CHUNK, int AT, int TILES, int QUADS, bool FREE = false>
  DEVICE void multiply_whole(const u8* const (&from)[TILES], int quad, int each, int below, const Activations& a, bool add) {
    static_assert(TILES * QUADS <= SLICES, "a lane for each quad");
    if constexpr (B == 8) {
      const float sum = multiply_bytes<CHUNK, AT, TILES * QUADS, QUADS>(from, each, below, a);
      if (FREE) free_tiles(TILES);
      keep_bytes(sum * a.scale, quad, TILES * QUADS, add);
    } else {
      float sum[2];
      multiply_nibbles<CHUNK, AT>(sum, from[0], QUADS, each, below, a);
      if (FREE) free_tiles(TILES);
      keep_nibbles(sum, quad, QUADS, a.scale, add);
    }
  }

  // All tiles of so many quads of all chunks of hidden units, of which a warp reads only those of its own; and of the others
  // it waits for none, but frees each as if it had read it.
  template <int B>
  DEVICE void product_own(int quads, const Activations& a) {
    if constexpr (!whole_numbers(B)) return;
    constexpr int SPAN = span(B, HIDDEN_CHUNK), TILES = SPAN > AT_ONCE ? 1 : AT_ONCE / SPAN;
    const int tiles = (quads + SPAN - 1) / SPAN, mine = tile + warp * (HIDDEN / WARPS) / HIDDEN_CHUNK * tiles;
#pragma unroll 1
    for (int i = 0; i < tiles; i += TILES) {
      const u8* from[TILES];
#pragma unroll
      for (int j = 0; j < TILES; j++) from[j] = wait_for(mine + (i + j < tiles ? i + j : i));
      multiply_whole<B, HIDDEN, 0, TILES, SPAN>(from, i * SPAN, apart(true), down<B, HIDDEN_CHUNK>(true), a, false);
    }
    warp_barrier();
    for (int i = lane; i < CHUNKS * tiles; i += 32) {
      wait_for(tile + i);
      mbar_arrive(s.empty + (tile + i) % SLOTS);
    }
    warp_barrier();
    tile += CHUNKS * tiles;
  }

  // All tiles of so many quads of one chunk. A quad of `pairs` has two rows of gate and two of up, which stand further
  // down. What is computed beyond the last quad is not looked at: `parts` has room for whole batches.
  template <int B, int CHUNK, int AT = 0>
  DEVICE void product(int quads, bool pairs, const Activations& a, bool add) {
    constexpr int SPAN = span(B, CHUNK), TILES = SPAN > AT_ONCE ? 1 : AT_ONCE / SPAN;
    static_assert(AT_ONCE == 2 || AT_ONCE == 4, "what is left over is two quads and one");
    constexpr bool HALVES = SPAN == 4 && !OWN;  // with OWN half a tile has rows of all its quads
    int i = 0;
#pragma unroll 1
    for (; i + (TILES - 1) * SPAN < quads && (!HALVES || i + 2 < quads); i += TILES * SPAN)
      batch<B, CHUNK, AT, TILES, SPAN>(i, pairs, a, add);
    if constexpr (TILES > 2)
      if (i + SPAN < quads) batch<B, CHUNK, AT, 2, SPAN>(i, pairs, a, add), i += 2 * SPAN;
    if ((TILES > 1 || HALVES) && i < quads) batch<B, CHUNK, AT, 1, HALVES ? 2 : SPAN>(i, pairs, a, add);
  }

  // The same for N chunks, of which all activations are held.
  template <int B, int CHUNK, int N, int FIRST = 0>
  DEVICE void products(int quads, bool pairs, const Activations& a) {
    product<B, CHUNK, FIRST * steps(B, CHUNK)>(quads, pairs, a, FIRST > 0);
    if constexpr (FIRST + 1 < N) products<B, CHUNK, N, FIRST + 1>(quads, pairs, a);
  }

  // The sum of all warps' parts of one row.
  DEVICE float total(int row, int b) const {
    if (BESIDE) {
      const float4 *from = (const float4*)part(0, row, b), x = from[0], y = from[1];
      return ((x.x + x.y) + (x.z + x.w)) + ((y.x + y.y) + (y.z + y.w));
    }
    float x[WARPS];
#pragma unroll
    for (int w = 0; w < WARPS; w++) x[w] = *part(w, row, b);
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
  }
};

// When a block got somewhere, for the benchmark `line`: in nanoseconds, alike for all blocks.
constexpr int MARK_SLOTS = 80;
DEVICE void mark(const Consumer& c, int l, int stage) {
#if MARKS
  if (thread() == 0) c.p.marks[(block() * (LAYERS + 1) + l) * MARK_SLOTS + stage] = nanoseconds();
#endif
}
// Within a stage, in cycles of this multiprocessor.
DEVICE void moment(const Consumer& c, int l, int at) {
#if MARKS
  if (thread() == 0 && 16 + at < MARK_SLOTS) c.p.marks[(block() * (LAYERS + 1) + l) * MARK_SLOTS + 16 + at] = cycles();
#endif
}
