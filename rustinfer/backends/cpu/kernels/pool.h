// Threads that share the tasks of one call at a time, spin briefly between calls, then sleep.
#pragma once
#include <atomic>
#include <cstdint>

using Body = void (*)(void* context, long task);

// Runs body(context, 0 .. tasks - 1) on the pool and the caller; returns when all are done. Tasks are handed out
// `grain` at a time. Calls from inside a task run inline.
void pool_run(Body body, void* context, long tasks, long grain);
long pool_threads();

template <class F> void parallel(long tasks, long grain, const F& f) {
    pool_run([](void* c, long t) { (*static_cast<const F*>(c))(t); }, const_cast<F*>(&f), tasks, grain);
}

// Memory of the calling thread, 64-byte aligned, kept between calls; `slot` tells its uses apart.
void* scratch(int slot, long bytes);
enum Slot { WEIGHTS, OUTPUT, OUTPUT2, ROWS, INTEGERS, ROW_SCALES, FINES, PEAKS, PROJECTED, ROW, ATTEND, SAMPLE, STACK, SLOTS };
template <class T> T* scratch(Slot slot, long count) { return static_cast<T*>(scratch(int(slot), count * long(sizeof(T)))); }
