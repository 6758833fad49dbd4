// What kernels/group.cuh offers, on a CPU. A map's words are an address, columns, rows, the stride in numbers, a box's rows.
#pragma once
typedef u64 There;
namespace emulated {
inline std::unordered_map<int, Gate> clusters;
inline std::unordered_map<Fiber*, int> turns;
inline std::unordered_map<Block*, std::vector<float*>[4]> sums;  // of a warp group
inline int group() { return machine->now->thread / 128; }
struct Late {  // what the kernel in front writes: it ends when all threads have come to wait for it
  void* to;
  const void* from;
  long bytes;
  Gate all;
};
inline Late late;
inline u64 swizzled(u64 at) { return at ^ (at >> 7 & 7) << 4; }
inline float number(u64 matrix, int row, int k) {
  return as_float((u32) * (const u16*)swizzled((matrix << 4) + row * 128 + k * 2) << 16);
}
}  // namespace emulated

DEVICE u32 shared_address(const void* p) { return (u64)p; }
DEVICE void let_successor_begin() {}
DEVICE void wait_for_predecessor() {
  emulated::Late& late = emulated::late;
  if (late.bytes)
    emulated::meet(late.all, emulated::machine->blocks.size() * emulated::machine->threads, [&] {
      memcpy(late.to, late.from, late.bytes);
      late.bytes = 0;
    });
}
DEVICE void cluster_arrive() {
  emulated::Gate& gate = emulated::clusters[block() / CLUSTER];
  emulated::turns[emulated::machine->now] = gate.turn;
  if (++gate.arrived == CLUSTER * emulated::machine->threads) gate.arrived = 0, gate.turn++;
}
DEVICE void cluster_arrive_relaxed() { cluster_arrive(); }
DEVICE void cluster_wait() {
  emulated::until(&emulated::clusters[block() / CLUSTER].turn, emulated::turns[emulated::machine->now]);
}
DEVICE There shared_of(const void* p, int rank) {
  auto& other = emulated::machine->blocks[block() / CLUSTER * CLUSTER + rank];
  return (u64)(other.base + ((const u8*)p - shared_base()));
}
DEVICE void shared_fence() {}
DEVICE void copy_there(There to, const void* from, u32 bytes, There counted) {
  if (bytes % 16 || to % 16 || (u64)from % 16) abort();
  for (int rank = 0; rank < CLUSTER; rank++) {
    emulated::Block& other = emulated::machine->blocks[block() / CLUSTER * CLUSTER + rank];
    if (other.barriers.count((u64*)counted)) return other.copies.push_back({(void*)to, from, bytes, (u64*)counted, {}});
  }
  abort();  // its block has not made the mbarrier
}

// A box of rows, of which `row_of` gives the numbers, into the place `to` of a block.
template <class F>
static void copy_box(emulated::Block& block, u8* to, const Map* map, int column, u64* b, const F& row_of) {
  const u16* from = (const u16*)map->words[0];
  int columns = map->words[1], rows = map->words[2], stride = map->words[3], box = map->words[4];
  if ((u64)to % 128) abort();
  memset(to, 0xff, box * 128);
  emulated::Copy copy{to, nullptr, (u32)box * 128, b, std::vector<u8>(box * 128)};
  for (int r = 0; r < box; r++)
    for (int c = 0; c < 64; c++) {
      bool there = row_of(r) < rows && column + c < columns;
      u16 value = there ? from[(i64)row_of(r) * stride + column + c] : 0;
      memcpy(copy.early.data() + (emulated::swizzled((u64)to + r * 128 + c * 2) - (u64)to), &value, 2);
    }
  block.copies.push_back(copy);
}
DEVICE void tensor_copy(void* to, const Map* map, int column, int row, u64* b) {
  copy_box(emulated::here(), (u8*)to, map, column, b, [&](int r) { return row + r; });
}
DEVICE void tensor_copy_once(void* to, const Map* map, int column, int row, u64* b, u64) {
  tensor_copy(to, map, column, row, b);
}
template <class F>
static void copy_to_all(void* to, const Map* map, int column, u64* b, u16 mask, const F& row_of) {
  for (int i = 0; i < CLUSTER; i++)
    if (mask >> i & 1)
      copy_box(emulated::machine->blocks[block() / CLUSTER * CLUSTER + i], (u8*)shared_of(to, i), map, column,
               (u64*)shared_of(b, i), row_of);
}
DEVICE void tensor_copy_to_all(void* to, const Map* map, int column, int row, u64* b, u16 mask) {
  copy_to_all(to, map, column, b, mask, [&](int r) { return row + r; });
}
DEVICE void tensor_copy4_once_to_all(void* to, const Map* map, int column, int eight, u64* b, u16 mask, u64) {
  int half = map->words[2] / 2;
  copy_to_all(to, map, column, b, mask, [&](int r) { return r / 8 % 2 * half + (eight + r / 16) * 8 + r % 8; });
}
DEVICE void arrive_there(There b) {
  for (int i = 0; i < CLUSTER; i++) {
    emulated::Block& other = emulated::machine->blocks[block() / CLUSTER * CLUSTER + i];
    auto found = other.barriers.find((u64*)b);
    if (found == other.barriers.end()) continue;
    if (!found->second.pending-- && !emulated::machine->failed) abort();
    return emulated::settle(found->second);
  }
  abort();
}
DEVICE void give_up() { abort(); }
DEVICE void matrices(u32 (&to)[4], const void* row, bool turn) {
  emulated::Warp& w = emulated::warp();
  int l = emulated::lane();
  memcpy(w.a[l], &row, sizeof row);
  emulated::meet(w, 32, [&] {
    const u16* rows[32];
    for (int i = 0; i < 32; i++) {
      memcpy(rows + i, w.a[i], sizeof row);
      if ((u64)rows[i] % 16) abort();
    }
    for (int i = 0; i < 32; i++)
      for (int m = 0; m < 4; m++) {
        const u16 *at = rows[8 * m + i / 4] + i % 4 * 2, *one = rows[8 * m + i % 4 * 2], *two = rows[8 * m + i % 4 * 2 + 1];
        w.a[i][2 + m] = turn ? one[i / 4] | (u32)two[i / 4] << 16 : at[0] | (u32)at[1] << 16;
      }
  });
  memcpy(to, w.a[l] + 2, sizeof to);
}
DEVICE void matrices(u32 (&to)[4], const void* row) { matrices(to, row, false); }
DEVICE void matrices_turned(u32 (&to)[4], const void* row) { matrices(to, row, true); }
DEVICE u32 turned(u32 pair) {
  emulated::Warp& w = emulated::warp();
  int l = emulated::lane();
  w.a[l][0] = pair;
  emulated::meet(w, 32, [&] {
    for (int i = 0; i < 32; i++) {
      int at = i % 4 * 2, g = i / 4;
      auto number = [&](int row) { return w.a[row * 4 + g / 2][0] >> g % 2 * 16 & 0xffff; };
      w.a[i][1] = number(at) | number(at + 1) << 16;
    }
  });
  return w.a[l][1];
}
#if !NO_WGMMA  // it makes do with mma, which is emulated for all kernels
DEVICE u64 matrix(const void* p) { return (u64)p >> 4; }
DEVICE void group_fence() {}
DEVICE void group_commit() {}
template <int N>
DEVICE void group_wait() { emulated::meet(emulated::here().named[8 + emulated::group()], 128); }
DEVICE void group_done() { group_wait<0>(); }
template <int N>
DEVICE void group_multiply(float (&d)[N], u64 a, u64 b) {
  auto& all = emulated::sums[&emulated::here()][emulated::group()];
  all.resize(128);
  all[thread() % 128] = d;
  emulated::meet(emulated::here().named[12 + emulated::group()], 128, [&] {
    for (int t = 0; t < 128; t++)
      for (int i = 0; i < N; i++) {
        int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + t % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) all[t][i] += emulated::number(a, row, k) * emulated::number(b, column, k);
      }
  });
}
#endif
DEVICE float exp_fast(float v) { return expf(v); }
