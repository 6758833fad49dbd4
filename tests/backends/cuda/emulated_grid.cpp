// A kernel that waits for no other block, as a library function that a test calls: SOURCE names its file, ENTRY the kernel.
#define EMULATED
#include <stdlib.h>

#include SOURCE

extern "C" long emulate(const Arguments* p, int blocks, int threads, long shared, u64 seed, void* to, const void* from, long bytes) {
  emulated::late = {to, from, bytes};
  return emulated::run(blocks, threads, shared, seed, 0, false, [p] { ENTRY(*p); });
}
