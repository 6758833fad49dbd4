// What the decode kernel needs of the machine, and nothing else: the one file that holds PTX. No header of CUDA's is
// needed. A build with EMULATED takes the same functions from an emulator instead (tests/backends/cuda/emulator.h).
#pragma once
#ifdef EMULATED
#include "emulator.h"
#else
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define DEVICE __device__ __forceinline__
#define INFINITY __int_as_float(0x7f800000)
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1)

extern __shared__ __align__(128) u8 shared_memory[];
DEVICE u8* shared_base() { return shared_memory; }
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
DEVICE int thread() { return threadIdx.x; }
DEVICE int block() { return blockIdx.x; }
// The same, asked anew: what is computed from it is not carried in registers from one stage to the next.
DEVICE int thread_anew() {
  int i;
  asm volatile("mov.u32 %0, %tid.x;" : "=r"(i));
  return i;
}
// A number that is known, but not to the compiler: what it would fold costs registers that there are not.
DEVICE int unknown(int v) {
  asm("" : "+r"(v));
  return v;
}

// Named barriers of some of a block's warps, warps, and votes.
DEVICE void barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEVICE void block_barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
DEVICE int shuffle(int v, int lane) { return __shfl_sync(~0u, v, lane); }
DEVICE bool all_lanes(bool v) { return __all_sync(~0u, v); }

// A warp group's registers for each thread: what one group gives away another may take.
template <int N>
DEVICE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N>
DEVICE void leave_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }

// mbarriers in shared memory. `mbar_passed` says whether the phase of that number, from 0, is over; it may wait a little. Only
// its parity is looked at: it must be the one that is under way or the one before.
DEVICE void mbar_init(u64* b, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count));
}
DEVICE void mbar_arrive(u64* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
DEVICE void mbar_expect(u64* b, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
DEVICE bool mbar_passed(u64* b, u32 phase) {
  u32 passed;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
      : "=r"(passed)
      : "r"(shared_address(b)), "r"(phase & 1)
      : "memory");
  return passed;
}
DEVICE void mbars_visible() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The same without waiting.
DEVICE bool mbar_over(u64* b, u32 phase) {
  u32 passed;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
      : "=r"(passed)
      : "r"(shared_address(b)), "r"(phase & 1)
      : "memory");
  return passed;
}

// Bulk copies from global to shared memory, counted by an mbarrier. `once` marks data that nobody reads again.
DEVICE u64 read_once() {
  u64 policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
DEVICE void bulk_copy_once(void* to, const void* from, u32 bytes, u64* b, u64 policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
          shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(b)), "l"(policy)
      : "memory");
}
DEVICE void bulk_copy(void* to, const void* from, u32 bytes, u64* b) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(b))
               : "memory");
}

// Words between blocks. Each is written once in a launch and was ABSENT before, so a word that is there is the word that
// was meant: nothing else is ordered, and nothing else needs to be. (No arithmetic gives ABSENT: its NaNs are 7fffffff.)
constexpr u32 ABSENT = 0xffffffffu;
DEVICE void publish(float* p, float v) { asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(p), "f"(v) : "memory"); }
DEVICE void publish(u16* p, float v) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  asm volatile("st.relaxed.gpu.global.u16 [%0], %1;" ::"l"(p), "h"(bits) : "memory");
}
DEVICE void publish(u32* p, u32 v) { asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory"); }
// What this thread wrote is there for all others, also for bulk copies, before anything that it writes from now on. (Of
// global memory: a fence for bulk copies of shared memory, too, waits for all that was written once more.)
DEVICE void fence() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
  asm volatile("fence.proxy.async.global;" ::: "memory");
}
// Two neighbouring blocks, a cluster: all threads of both meet; and a word for the other's shared memory, at the place that it
// has in this block's, counted by the other's mbarrier.
DEVICE void pair_barrier() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
DEVICE u32 of_pair(const void* p) {
  u32 there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"((blockIdx.x & 1) ^ 1));
  return there;
}
DEVICE void tell_pair(const float* p, float v, const u64* b) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(of_pair(p)),
               "r"(__float_as_uint(v)), "r"(of_pair(b))
               : "memory");
}
// Words between the host and the device, while both run.
DEVICE void tell_host(i64* p, i64 v) { asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory"); }
DEVICE i64 ask_host(const i64* p) {
  i64 v;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
DEVICE u32 look(const void* p) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
DEVICE uint4 look4(const void* p) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
DEVICE float as_float(u32 v) { return __uint_as_float(v); }
DEVICE u32 as_bits(float v) { return __float_as_uint(v); }
// The first error is kept, and told to the host.
__device__ __noinline__ void report(u64* error, u64* host, u64 code) {
  if (atomicCAS(error, 0ull, code) == 0) {
    *(volatile u64*)host = code;
    __threadfence_system();
  }
}
DEVICE u64 reported(const u64* error) { return *(const volatile u64*)error; }
DEVICE void pause() {}  // between two looks
DEVICE i64 cycles() { return clock64(); }
DEVICE i64 nanoseconds() {
  i64 t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

// Two numbers as bf16, the first in the low half.
DEVICE u32 pack(float low, float high) {
  u32 v;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
  return v;
}
DEVICE float low(u32 pair) { return __uint_as_float(pair << 16); }
DEVICE float high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
// A half-precision number, and products of pairs of bf16.
DEVICE float half_float(u16 bits) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
  return y;
}
// (v & mask) ^ bits, in one instruction even where both are constants.
DEVICE u32 flipped(u32 v, u32 mask, u32 bits) {
  u32 w;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(w) : "r"(v), "r"(mask), "r"(bits));
  return w;
}
DEVICE u32 times(u32 a, u32 b) {
  u32 v;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(v) : "r"(a), "r"(b));
  return v;
}
// The larger of two numbers without a sign, in each half; of all lanes' the largest, the smallest, and all bits that are set.
DEVICE u32 larger_halves(u32 a, u32 b) {
  u32 v;
  asm("max.u16x2 %0, %1, %2;" : "=r"(v) : "r"(a), "r"(b));
  return v;
}
DEVICE u32 largest_of_lanes(u32 v) { return __reduce_max_sync(~0u, v); }
DEVICE u32 smallest_of_lanes(u32 v) { return __reduce_min_sync(~0u, v); }
DEVICE u32 bits_of_lanes(u32 v) { return __reduce_or_sync(~0u, v); }
DEVICE float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Of eight bytes, a's and then b's, the four that `pick` names.
DEVICE u32 bytes_of(u32 a, u32 b, u32 pick) { return __byte_perm(a, b, pick); }
DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// d += a * b: a is 16 x 16 by rows, b is 16 x 8 by columns, both bf16; d is 16 x 8 in fp32.
DEVICE void mma(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// The same with half of the columns of a.
DEVICE void mma_short(float (&d)[4], u32 a0, u32 a1, u32 b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b));
}
// The same for bytes: a is 16 x 32, b is 32 x 8; d in whole numbers.
DEVICE void mma_whole(int (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#endif
