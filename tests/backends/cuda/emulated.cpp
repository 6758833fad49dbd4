// The decode kernel as a library function that a test calls.
#define EMULATED
#include <stdlib.h>

#include "decode.cu"

extern "C" long emulate(const Arguments* p, u64 seed, int dropped, int blind, long shared) {
  return emulated::run(GRID, THREADS, shared, seed, dropped, blind, [p] { decode(*p); });
}
