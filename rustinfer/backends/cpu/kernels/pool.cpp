#include "pool.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

constexpr int SPINS = 4000;  // of some 40 ns: about 150 us, longer than the host takes between two ops

struct Job {
    Body body;
    void* context;
    long tasks, grain;
};

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

#if defined(__linux__)
void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wake_all(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0); }
#else
void sleep_while(std::atomic<uint32_t>&, uint32_t) { std::this_thread::yield(); }
void wake_all(std::atomic<uint32_t>&) {}
#endif

struct Pool {
    std::mutex gate;  // one call at a time
    Job job{};
    alignas(64) std::atomic<uint32_t> round{0};
    alignas(64) std::atomic<long> next{0};
    alignas(64) std::atomic<int> busy{0};
    alignas(64) std::atomic<int> asleep{0};
    bool stopping = false;
    std::vector<std::thread> workers;

    void work() {
        for (;;) {
            long first = next.fetch_add(job.grain, std::memory_order_relaxed);
            if (first >= job.tasks) return;
            long last = first + job.grain < job.tasks ? first + job.grain : job.tasks;
            for (long t = first; t < last; t++) job.body(job.context, t);
        }
    }

    uint32_t await(uint32_t seen) {
        for (int i = 0; i < SPINS; i++) {
            uint32_t now = round.load(std::memory_order_acquire);
            if (now != seen) return now;
            pause();
        }
        asleep.fetch_add(1);
        while (round.load() == seen) sleep_while(round, seen);
        asleep.fetch_sub(1);
        return round.load(std::memory_order_acquire);
    }

    void serve(uint32_t seen);

    void start(const Job& what) {
        job = what;
        next.store(0, std::memory_order_relaxed);
        busy.store(int(workers.size()), std::memory_order_relaxed);
        round.fetch_add(1);
        if (asleep.load() > 0) wake_all(round);
    }

    void finish() {
        for (int i = 0; busy.load(std::memory_order_acquire) > 0; i++) {
            if (i < SPINS) pause();
            else std::this_thread::yield();
        }
    }

    void resize(long threads) {
        std::lock_guard<std::mutex> hold(gate);
        stopping = true;
        start({nullptr, nullptr, 0, 1});
        for (auto& w : workers) w.join();
        workers.clear();
        stopping = false;
        uint32_t seen = round.load();
        for (long i = 1; i < threads; i++) workers.emplace_back([this, seen] { serve(seen); });
    }
};

// Never destroyed: a worker may be asleep in it while the process exits.
Pool& pool = *new Pool;
thread_local bool inside = false;

void Pool::serve(uint32_t seen) {
    inside = true;
    for (;;) {
        seen = await(seen);
        bool stop = stopping;
        if (!stop) work();
        busy.fetch_sub(1, std::memory_order_release);
        if (stop) return;
    }
}

struct Buffers {
    void* at[SLOTS] = {};
    long size[SLOTS] = {};
    ~Buffers() {
        for (void* p : at) free(p);
    }
};
thread_local Buffers buffers;

}  // namespace

void* scratch(int slot, long bytes) {
    if (buffers.size[slot] < bytes) {
        long size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
        free(buffers.at[slot]);
        buffers.size[slot] = 0;
        buffers.at[slot] = aligned_alloc(4096, size_t(size));
        if (!buffers.at[slot]) throw std::bad_alloc();
        buffers.size[slot] = size;
    }
    return buffers.at[slot];
}

long pool_threads() { return long(pool.workers.size()) + 1; }

void pool_run(Body body, void* context, long tasks, long grain) {
    if (inside || tasks <= grain || pool.workers.empty()) {
        for (long t = 0; t < tasks; t++) body(context, t);
        return;
    }
    std::lock_guard<std::mutex> hold(pool.gate);
    inside = true;
    pool.start({body, context, tasks, grain});
    pool.work();
    pool.finish();
    inside = false;
}

extern "C" void ri_set_threads(long threads) { pool.resize(threads); }
extern "C" long ri_threads() { return pool_threads(); }
