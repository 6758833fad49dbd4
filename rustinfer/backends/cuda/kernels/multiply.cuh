// Products of a warp group by what each of its warps has, for chips without wgmma: the functions of multiply_hopper.cuh, with the
// same rows and sums in the same lanes. They have multiplied when they return.
#pragma once

// A matrix in shared memory, rows of 128 bytes in 128-byte swizzle, the first at a multiple of 1024 bytes: where it lies, in
// units of 16 bytes. Callers add whole groups of eight rows to that, and columns by 16, two units each.
DEVICE u64 matrix(const void* p) { return (u64)((const u8*)p - shared_base()) / 16; }

// A unit of one of its rows. What the swizzle changes units by, the address's bits 7 to 9, is the row's number in its eight.
DEVICE const u8* unit_of(u64 matrix, int row, int unit) {
  int first = (int)matrix;
  return shared_base() + first / 8 * 128 + row * 128 + ((first % 8 + unit) ^ row % 8) * 16;
}

DEVICE void group_fence() {}
DEVICE void group_commit() {}
// Behind it one lane says for its warp that what all have read may be written over, so their reads must come before its word.
// ldmatrix waits until all lanes are there, but orders nothing; a barrier of the warp does.
template <int N>
DEVICE void group_wait() { warp_barrier(); }
DEVICE void group_done() { warp_barrier(); }

// d += a * b of 16 columns: a has 64 rows, 16 for each warp, b 2 N, all for every warp; d[4 j + 2 h + i] is of the warp's row
// lane / 4 + 8 h, b's row 8 j + 2 (lane % 4) + i.
template <int N>
DEVICE void group_multiply(float (&d)[N], u64 a, u64 b) {
  static_assert(N % 8 == 0, "b comes by 16 rows");
  const int lane = thread() % 32, warp = thread() / 32 % 4;
  const u8 *at = unit_of(a, warp * 16 + lane % 16, lane / 16), *other = unit_of(b, lane / 16 * 8 + lane % 8, lane / 8 % 2);
  u32 x[4];
  matrices(x, at);
#pragma unroll
  for (int n = 0; n < N; n += 8) {
    u32 y[4];
    matrices(y, other + 2 * n * 128);
    mma((float (&)[4])d[n], x[0], x[1], x[2], x[3], y[0], y[1]);
    mma((float (&)[4])d[n + 4], x[0], x[1], x[2], x[3], y[2], y[3]);
  }
}
