// Runs a CUDA kernel on a CPU: what kernels/ptx.cuh offers, with every thread of every block as a fiber of one process.
// Blocks and threads take turns at random, copies arrive late and out of order, with what was there when they were asked for
// or what is there when they arrive, and shared memory that a copy is still to fill is full of NaNs: so a missing wait gives
// wrong numbers, and a missing signal a time-out, on any machine. Who waits for a phase of an mbarrier that is neither the
// one under way nor the one before, or arrives at one that has all its arrivals, ends the process.
// It does not show missing fences: memory here is sequentially consistent.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <functional>
#include <random>
#include <unordered_map>
#include <vector>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define DEVICE inline
#define KERNEL(threads) static void
#define __grid_constant__
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

namespace emulated {
constexpr size_t STACK = 128 * 1024;
struct Gate {
  int arrived = 0, turn = 0;
};
struct Warp : Gate {
  float in[32], out[32];
  u32 a[32][6];
  float d[32][4];
  bool all = true, every = true;
};
struct Mbarrier {
  u32 count = 0, pending = 0, phase = 0;
  i64 bytes = 0;
};
struct Copy {
  void* to;
  const void* from;
  u32 bytes;
  u64* barrier;
  std::vector<u8> early;  // what was there when it was asked for, where that is what arrives
};
struct Block {
  std::vector<u8> memory;
  u8* base;
  std::unordered_map<u64*, Mbarrier> barriers;
  std::vector<Copy> copies;
  Gate named[16];
  std::vector<Warp> warps;
};
struct Fiber {
  ucontext_t context;  // where it starts
  jmp_buf place;       // and where it is, once it has started
  bool started = false;
  int block, thread;
  const int* waits = nullptr;  // runs again when *waits is no longer `value`
  int value = 0;
  bool done = false;
};
struct Machine {
  std::mt19937_64 random;
  std::vector<Block> blocks;
  std::vector<Fiber> fibers;
  jmp_buf rounds;
  Fiber* now = nullptr;
  i64 clock = 0;
  int threads = 0, published = 0, dropped = 0;
  bool blind = false, failed = false;  // failed: whoever waits has given up
  std::function<void()> kernel;
};
inline Machine* machine;
inline Block& here() { return machine->blocks[machine->now->block]; }
// Changes of fiber are most of what a run does: by _setjmp, for swapcontext asks the system for the signals' mask each time.
inline void yield() {
  if (!_setjmp(machine->now->place)) _longjmp(machine->rounds, 1);
}
inline void resume(Fiber& f) {
  machine->now = &f;
  if (_setjmp(machine->rounds)) return;
  if (f.started) _longjmp(f.place, 1);
  f.started = true;
  setcontext(&f.context);
}
inline void until(const int* turn, int value) {
  machine->now->waits = turn, machine->now->value = value;
  while (*turn == value) yield();
  machine->now->waits = nullptr;
}
inline void meet(Gate& gate, int threads, const std::function<void()>& last = [] {}) {
  int turn = gate.turn;
  if (++gate.arrived == threads) {
    last();
    gate.arrived = 0, gate.turn++;
  } else {
    until(&gate.turn, turn);
  }
}
inline Warp& warp() { return here().warps[machine->now->thread / 32]; }
inline int lane() { return machine->now->thread % 32; }
inline void settle(Mbarrier& m) {
  if (m.pending == 0 && m.bytes == 0) m.phase++, m.pending = m.count;
}
inline void deliver(Block& block) {
  size_t i = machine->random() % block.copies.size();
  Copy copy = block.copies[i];
  block.copies.erase(block.copies.begin() + i);
  memcpy(copy.to, copy.early.empty() ? copy.from : copy.early.data(), copy.bytes);
  Mbarrier& m = block.barriers[copy.barrier];
  m.bytes -= copy.bytes;
  settle(m);
}
inline void start() {
  machine->kernel();
  machine->now->done = true;
  _longjmp(machine->rounds, 1);
}
// Runs the kernel to its end; returns how many rounds that took.
inline i64 run(int blocks, int threads, size_t shared, u64 seed, int dropped, bool blind, std::function<void()> kernel) {
  Machine m;
  machine = &m;
  m.random.seed(seed);
  m.threads = threads, m.dropped = dropped, m.blind = blind, m.kernel = kernel;
  m.blocks.resize(blocks);
  size_t total = (size_t)blocks * threads;
  char* stacks = (char*)mmap(nullptr, total * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (Block& b : m.blocks) {
    b.memory.assign(shared + 1024, 0xff);
    b.base = (u8*)(((u64)b.memory.data() + 1023) & ~1023ull);
    b.warps.resize(threads / 32);
  }
  m.fibers.resize(total);
  for (size_t i = 0; i < total; i++) {
    Fiber& f = m.fibers[i];
    f.block = i / threads, f.thread = i % threads;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stacks + i * STACK, f.context.uc_stack.ss_size = STACK, f.context.uc_link = nullptr;
    makecontext(&f.context, start, 0);
  }
  std::vector<u32> speed(blocks), asleep(blocks);
  for (size_t left = total; left;) {
    if (m.clock++ % 64 == 0)
      for (int b = 0; b < blocks; b++) {
        speed[b] = m.random() % 4;                     // some blocks run ahead, others hardly at all
        asleep[b] = m.random() % (2 * threads / 32);  // of every second block one warp stands still
      }
    for (int b = 0; b < blocks; b++) {
      if (m.random() % 4 < speed[b]) continue;
      if (!m.blocks[b].copies.empty() && m.random() % 3 == 0) deliver(m.blocks[b]);
      size_t first = m.random() % threads;
      for (int i = 0; i < threads; i++) {
        Fiber& f = m.fibers[(size_t)b * threads + (first + i) % threads];
        if (f.done || f.thread / 32 == (int)asleep[b] || (f.waits && *f.waits == f.value)) continue;
        resume(f);
        left -= f.done;
      }
    }
  }
  munmap(stacks, total * STACK);
  return m.clock;
}
}  // namespace emulated

DEVICE u8* shared_base() { return emulated::here().base; }
DEVICE int thread() { return emulated::machine->now->thread; }
DEVICE int thread_anew() { return thread(); }
DEVICE int unknown(int v) { return v; }
DEVICE int block() { return emulated::machine->now->block; }
DEVICE void barrier(int id, int threads) { emulated::meet(emulated::here().named[id], threads); }
DEVICE void block_barrier() { barrier(0, emulated::machine->threads); }
DEVICE void warp_barrier() { emulated::meet(emulated::warp(), 32); }
DEVICE float shuffle_from(float v, int lane) {
  emulated::Warp& w = emulated::warp();
  w.in[emulated::lane()] = v;
  emulated::meet(w, 32, [&] { memcpy(w.out, w.in, sizeof w.in); });
  return w.out[lane];
}
DEVICE float shuffle_xor(float v, int mask) { return shuffle_from(v, emulated::lane() ^ mask); }
DEVICE int shuffle(int v, int lane) {
  float bits;
  memcpy(&bits, &v, 4);
  bits = shuffle_from(bits, lane);
  memcpy(&v, &bits, 4);
  return v;
}
DEVICE bool all_lanes(bool v) {
  emulated::Warp& w = emulated::warp();
  w.all = w.all && v;
  emulated::meet(w, 32, [&] { w.every = w.all, w.all = true; });
  return w.every;
}
template <int N>
DEVICE void take_registers() {}
template <int N>
DEVICE void leave_registers() {}

DEVICE void mbar_init(u64* b, u32 count) { emulated::here().barriers[b] = {count, count, 0, 0}; }
DEVICE void mbar_arrive(u64* b) {
  emulated::Mbarrier& m = emulated::here().barriers[b];
  if (!m.pending-- && !emulated::machine->failed) abort();  // one too many: the phase waits for bytes alone
  emulated::settle(m);
}
DEVICE void mbar_expect(u64* b, u32 bytes) {
  emulated::here().barriers[b].bytes += bytes;
  mbar_arrive(b);
}
// Of a phase that is neither under way nor just over the parity would tell nothing: who asks has lost count.
DEVICE bool mbar_over(u64* b, u32 phase) {
  u32 ended = emulated::here().barriers[b].phase;
  if (ended - phase > 1 && !emulated::machine->failed) abort();
  return (ended & 1) != (phase & 1);
}
DEVICE bool mbar_passed(u64* b, u32 phase) {
  if (mbar_over(b, phase)) return true;
  emulated::yield();
  return false;
}
DEVICE void mbars_visible() {}
DEVICE u64 read_once() { return 0; }
DEVICE void bulk_copy(void* to, const void* from, u32 bytes, u64* b) {
  if (bytes % 16 || (u64)to % 16 || (u64)from % 16) abort();
  memset(to, 0xff, bytes);
  emulated::Copy copy{to, from, bytes, b};
  if (emulated::machine->random() % 2) copy.early.assign((const u8*)from, (const u8*)from + bytes);
  emulated::here().copies.push_back(copy);
}
DEVICE void bulk_copy_once(void* to, const void* from, u32 bytes, u64* b, u64) { bulk_copy(to, from, bytes, b); }

DEVICE bool lost() { return ++emulated::machine->published == emulated::machine->dropped; }
// Blocks by twos: both meet, and one tells the other a word, which arrives late. Until then there is none: whoever still reads
// the one before reads a NaN.
namespace emulated {
inline std::unordered_map<int, Gate> pairs;
}
DEVICE void pair_barrier() { emulated::meet(emulated::pairs[block() / 2], 2 * emulated::machine->threads); }
DEVICE void tell_pair(const float* p, float v, const u64* b) {
  using namespace emulated;
  Block &mine = here(), &other = machine->blocks[block() ^ 1];
  u8 *to = other.base + ((const u8*)p - mine.base), *barrier = other.base + ((const u8*)b - mine.base);
  memset(to, 0xff, 4);
  other.copies.push_back({to, nullptr, lost() ? 0u : 4u, (u64*)barrier, std::vector<u8>((u8*)&v, (u8*)&v + 4)});
}

DEVICE float as_float(u32 u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
DEVICE u32 as_bits(float x) {
  u32 u;
  memcpy(&u, &x, 4);
  return u;
}
DEVICE u32 rounded(float x) {
  u32 u = as_bits(x);
  if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
constexpr u32 ABSENT = 0xffffffffu;
DEVICE void publish(float* p, float v) {
  if (as_bits(*p) != ABSENT) abort();  // a word is written once in a launch
  if (!lost()) *p = v;
}
DEVICE void publish(u16* p, float v) {
  if (*p != 0xffff) abort();
  if (!lost()) *p = rounded(v);
}
DEVICE void publish(u32* p, u32 v) {
  if (*p != ABSENT) abort();
  if (!lost()) *p = v;
}
DEVICE void fence() {}
DEVICE void tell_host(i64* p, i64 v) { *p = v; }
DEVICE i64 ask_host(const i64* p) { return *p; }
// `blind` takes what is not there for zero.
DEVICE u32 look(const void* p) {
  u32 v = *(const u32*)p;
  if (emulated::machine->blind) return v == ABSENT ? 0 : v;
  return v;
}
DEVICE uint4 look4(const void* p) {
  const u32* w = (const u32*)p;
  return {look(w), look(w + 1), look(w + 2), look(w + 3)};
}
DEVICE void pause() { emulated::yield(); }
DEVICE void report(u64* error, u64* host, u64 code) {
  emulated::machine->failed = true;
  if (!*error) *error = *host = code;
}
DEVICE u64 reported(const u64* error) { return *error; }
DEVICE i64 cycles() { return emulated::machine->clock; }
DEVICE i64 nanoseconds() { return emulated::machine->clock; }

DEVICE u32 pack(float low, float high) { return rounded(low) | rounded(high) << 16; }
DEVICE float low(u32 pair) { return as_float(pair << 16); }
DEVICE float high(u32 pair) { return as_float(pair & 0xffff0000u); }
DEVICE u32 flipped(u32 v, u32 mask, u32 bits) { return v & mask ^ bits; }
DEVICE u32 times(u32 a, u32 b) { return pack(low(a) * low(b), high(a) * high(b)); }
DEVICE float half_float(u16 bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float v = exponent ? ldexpf(1024 + mantissa, exponent - 25) : ldexpf(mantissa, -24);
  return bits & 0x8000 ? -v : v;
}
DEVICE u32 larger_halves(u32 a, u32 b) {
  return (a & 0xffff) > (b & 0xffff) ? a & 0xffff | ((a >> 16) > (b >> 16) ? a : b) & 0xffff0000u
                                     : b & 0xffff | ((a >> 16) > (b >> 16) ? a : b) & 0xffff0000u;
}
template <class F> static u32 of_lanes(u32 v, const F& both) {
  for (int mask = 1; mask < 32; mask *= 2) v = both(v, (u32)shuffle((int)v, emulated::lane() ^ mask));
  return v;
}
DEVICE u32 largest_of_lanes(u32 v) {
  return of_lanes(v, [](u32 a, u32 b) { return a > b ? a : b; });
}
DEVICE u32 smallest_of_lanes(u32 v) {
  return of_lanes(v, [](u32 a, u32 b) { return a < b ? a : b; });
}
DEVICE u32 bits_of_lanes(u32 v) {
  return of_lanes(v, [](u32 a, u32 b) { return a | b; });
}
DEVICE float reciprocal(float x) { return 1 / x; }
DEVICE u32 bytes_of(u32 a, u32 b, u32 pick) {
  const u64 both = (u64)b << 32 | a;
  u32 v = 0;
  for (int i = 0; i < 4; i++) v |= (u32)(both >> (pick >> 4 * i & 7) * 8 & 255) << 8 * i;
  return v;
}
DEVICE float exp2_fast(float x) { return exp2f(x); }
DEVICE float rsqrtf(float x) { return 1 / sqrtf(x); }

// Lays out a warp's operands and sums, has the last lane to come work on all of them, and takes this lane's sums back.
template <class T, class F> static void together(T (&d)[4], const u32 (&mine)[6], const F& work) {
  emulated::Warp& w = emulated::warp();
  int l = emulated::lane();
  memcpy(w.a[l], mine, sizeof mine);
  memcpy(w.d[l], d, sizeof d);
  emulated::meet(w, 32, [&] { work(w); });
  memcpy(d, w.d[l], sizeof d);
}

DEVICE void mma(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  together(d, {a0, a1, a2, a3, b0, b1}, [](emulated::Warp& w) {
    float a[16][16], b[16][8];
    for (int i = 0; i < 32; i++) {
      int g = i / 4, t = i % 4;
      for (int r = 0; r < 4; r++) {
        int row = g + r % 2 * 8, k = 2 * t + r / 2 * 8;
        a[row][k] = low(w.a[i][r]), a[row][k + 1] = high(w.a[i][r]);
      }
      for (int r = 0; r < 2; r++) {
        int k = 2 * t + r * 8;
        b[k][g] = low(w.a[i][4 + r]), b[k + 1][g] = high(w.a[i][4 + r]);
      }
    }
    for (int i = 0; i < 32; i++)
      for (int e = 0; e < 4; e++) {
        int row = i / 4 + e / 2 * 8, column = 2 * (i % 4) + e % 2;
        for (int k = 0; k < 16; k++) w.d[i][e] += a[row][k] * b[k][column];
      }
  });
}
DEVICE void mma_short(float (&d)[4], u32 a0, u32 a1, u32 b) { mma(d, a0, a1, 0, 0, b, 0); }

DEVICE void mma_whole(int (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  together(d, {a0, a1, a2, a3, b0, b1}, [](emulated::Warp& w) {
    for (int i = 0; i < 32; i++)
      for (int e = 0; e < 4; e++) {
        int sum;
        memcpy(&sum, &w.d[i][e], 4);
        for (int k = 0; k < 32; k++) {
          const int from = i / 4 * 4 + k % 16 / 4, with = (2 * (i % 4) + e % 2) * 4 + k % 16 / 4, at = k % 4 * 8;
          sum += (signed char)(w.a[from][e / 2 + k / 16 * 2] >> at) * (signed char)(w.a[with][4 + k / 16] >> at);
        }
        memcpy(&w.d[i][e], &sum, 4);
      }
  });
}
