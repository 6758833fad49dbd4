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

// Of 20 to 40 ns: about 60 us, longer than the host takes between two ops. A server that shares the cores has them sooner
// than it would with more.
constexpr int SPINS = 2000;

struct Job {
    Body body;
    void* context;
    long tasks, grain, chunks;
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

// Chunks are claimed from one word that holds the call's number and how many are left, so a thread that was away when a
// call began, or wakes after it ended, is never waited for: only claimed chunks are.
struct Pool {
    std::mutex gate;  // one call at a time
    Job job{};        // stable while any of its chunks is claimed and not done
    alignas(64) std::atomic<uint64_t> ticket{0};
    alignas(64) std::atomic<long> undone{0};
    alignas(64) std::atomic<uint32_t> round{0};
    std::atomic<int> asleep{0};
    std::atomic<bool> stopping{false};
    std::vector<std::thread> workers;

    static uint32_t unclaimed(uint64_t t) { return uint32_t(t); }

    void work() {
        uint64_t seen = ticket.load(std::memory_order_acquire);
        while (unclaimed(seen)) {
            if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel)) continue;
            long first = (job.chunks - long(unclaimed(seen))) * job.grain;
            long last = first + job.grain < job.tasks ? first + job.grain : job.tasks;
            for (long t = first; t < last; t++) job.body(job.context, t);
            undone.fetch_sub(1, std::memory_order_release);
            seen = ticket.load(std::memory_order_acquire);
        }
    }

    bool idle() const { return !unclaimed(ticket.load(std::memory_order_acquire)) && !stopping.load(std::memory_order_relaxed); }

    void await() {
        for (int i = 0; i < SPINS; i++) {
            if (!idle()) return;
            pause();
        }
        uint32_t seen = round.load();
        asleep.fetch_add(1);
        while (idle() && round.load() == seen) sleep_while(round, seen);
        asleep.fetch_sub(1);
    }

    void serve();

    void announce() {
        round.fetch_add(1);
        if (asleep.load() > 0) wake_all(round);
    }

    void run(const Job& what) {
        job = what;
        undone.store(job.chunks, std::memory_order_relaxed);
        uint64_t number = (ticket.load(std::memory_order_relaxed) >> 32) + 1;
        ticket.store(number << 32 | uint64_t(job.chunks), std::memory_order_seq_cst);
        announce();
        work();
        for (int i = 0; undone.load(std::memory_order_acquire) > 0; i++) {
            if (i < SPINS) pause();
            else std::this_thread::yield();
        }
    }

    void resize(long threads) {
        std::lock_guard<std::mutex> hold(gate);
        if (long(workers.size()) + 1 == threads) return;
        stopping = true;
        announce();
        for (auto& w : workers) w.join();
        workers.clear();
        stopping = false;
        for (long i = 1; i < threads; i++) workers.emplace_back([this] { serve(); });
    }
};

// Never destroyed: a worker may be asleep in it while the process exits.
Pool& pool = *new Pool;
thread_local bool inside = false;

void Pool::serve() {
    inside = true;
    while (!stopping) {
        await();
        work();
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
    pool.run({body, context, tasks, grain, (tasks + grain - 1) / grain});
    inside = false;
}

extern "C" void ri_set_threads(long threads) { pool.resize(threads); }
extern "C" long ri_threads() { return pool_threads(); }
