// Warp groups, clusters and programmatic launch: what a product by Hopper's own instructions needs of the machine.
// CLUSTER is the number of its blocks.
#pragma once
#include "ptx.cuh"

struct alignas(64) Map {  // how TMA reads a matrix
  u64 words[16];
};

#ifdef EMULATED
#include "emulator_group.h"
#else
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#error "needs compute capability 9.0"
#endif
// The next kernel of the stream may be placed; the one before has ended, and what it wrote can be read.
DEVICE void let_successor_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
DEVICE void wait_for_predecessor() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

typedef u32 There;  // a place in the shared memory of a block of the cluster

DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
// Orders nothing that was written, and takes no fence: who waits knows that all blocks of the cluster have come here.
DEVICE void cluster_arrive_relaxed() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
DEVICE There shared_of(const void* p, int rank) {
  There there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(rank));
  return there;
}
// What this thread wrote to shared memory is there for bulk copies.
DEVICE void shared_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// From this block's shared memory to that of one of the cluster's, counted by an mbarrier there.
DEVICE void copy_there(There to, const void* from, u32 bytes, There counted) {
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "r"(shared_address(from)), "r"(bytes), "r"(counted)
               : "memory");
}

// Four matrices of 8 x 8 numbers of 16 bits, a row at each lane's address: lane l has of each row l / 4's numbers 2 (l % 4)
// and the next, or, turned, column l / 4's. And one matrix of which each lane has a pair, turned.
DEVICE void matrices(u32 (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
DEVICE void matrices_turned(u32 (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
DEVICE u32 turned(u32 pair) {
  u32 to;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(to) : "r"(pair));
  return to;
}

// A box whose first element is at (column, row) of the matrix, in 128-byte swizzle.
DEVICE void tensor_copy(void* to, const Map* map, int column, int row, u64* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(b))
      : "memory");
}

// The same of numbers that nobody reads again.
DEVICE void tensor_copy_once(void* to, const Map* map, int column, int row, u64* b, u64 policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(
          shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(b)), "l"(policy)
      : "memory");
}

// The same into the same place of all blocks in `mask`, each of which has it counted by its own mbarrier.
DEVICE void tensor_copy_to_all(void* to, const Map* map, int column, int row, u64* b, u16 mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(
          shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(b)), "h"(mask)
      : "memory");
}
// The same of a matrix whose halves take turns in a box by eight rows: from group `eight` of both on. Nobody reads it again.
DEVICE void tensor_copy4_once_to_all(void* to, const Map* map, int column, int eight, u64* b, u16 mask, u64 policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3, %3, %4}], [%5], %6, %7;" ::"r"(
          shared_address(to)),
      "l"(map), "r"(column), "r"(0), "r"(eight), "r"(shared_address(b)), "h"(mask), "l"(policy)
      : "memory");
}
DEVICE void give_up() { __trap(); }
// Of a block of the cluster.
DEVICE void arrive_there(There b) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(b) : "memory");
}

// A matrix in shared memory, rows of 128 bytes in 128-byte swizzle, as wgmma takes it: eight rows are 1024 bytes.
DEVICE u64 matrix(const void* p) {
  return (u64)(shared_address(p) >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
DEVICE void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void group_done() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
DEVICE void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
DEVICE void group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

#define F8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
// d += a * b of 16 columns: a has 64 rows, b ROWS; d[4 j + 2 h + i] is of a's row lane / 4 + 8 h, b's row 8 j + 2 (lane % 4) + i.
DEVICE void group_multiply(float (&d)[8], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p, 1, 1, 0, 0;\n}"
               : F8(d, 0) : "l"(a), "l"(b));
}
DEVICE void group_multiply(float (&d)[16], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
               "%16, %17, p, 1, 1, 0, 0;\n}"
               : F8(d, 0), F8(d, 8) : "l"(a), "l"(b));
}
DEVICE void group_multiply(float (&d)[32], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0;\n}"
               : F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24) : "l"(a), "l"(b));
}
#define TEN(t) "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define MULTIPLY(sums, n, names, a, b, ...) \
  DEVICE void group_multiply(float (&d)[sums], u64 x, u64 y) { \
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" names "}, %" #a ", %" #b ", p, 1, 1, 0, 0;\n}" \
                 : __VA_ARGS__ : "l"(x), "l"(y)); \
  }
#define F32(d, i) F8(d, i), F8(d, i + 8), F8(d, i + 16), F8(d, i + 24)
MULTIPLY(64, 128, TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) "%60,%61,%62,%63", 64, 65, F32(d, 0), F32(d, 32))
MULTIPLY(112, 224, TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) "%110,%111", 112, 113,
         F32(d, 0), F32(d, 32), F32(d, 64), F8(d, 96), F8(d, 104))
MULTIPLY(128, 256, TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11) "%120,%121,%122,%123,%124,%125,%126,%127", 128, 129,
         F32(d, 0), F32(d, 32), F32(d, 64), F32(d, 96))
#undef F32
#undef MULTIPLY
#undef TEN
#undef F8
DEVICE float exp_fast(float v) { return __expf(v); }
#endif
