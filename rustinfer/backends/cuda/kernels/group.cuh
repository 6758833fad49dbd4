// Warp groups, clusters and programmatic launch: what a product needs of a machine from Hopper on. CLUSTER is the number of its
// blocks. NO_WGMMA makes do without Hopper's own instruction, as newer chips must.
#pragma once
#include "ptx.cuh"

struct alignas(64) Map {  // how TMA reads a matrix
  u64 words[16];
};

#ifdef EMULATED
#include "emulator_group.h"
#else
#if __CUDA_ARCH__ < 900
#error "needs compute capability 9.0 or newer: it copies into shared memory by TMA"
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

DEVICE float exp_fast(float v) { return __expf(v); }
#endif

#if NO_WGMMA || !(defined(EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL))
#include "multiply.cuh"
#elif !defined(EMULATED)
#include "multiply_hopper.cuh"
#endif
