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

// A thread's share of the chunks: the call's number, and how many of them are left, in one word on a cache line of its own.
struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
    long end = 0;  // of the share, as a chunk's number; stable as `job` is
};

// Each thread claims from its own share, then from the others': a cache line that two cores write to costs as much as a
// strip. A thread that was away when a call began, or wakes after it ended, is never waited for: only claimed chunks are.
struct Pool {
    std::mutex gate;  // one call at a time
    Job job{};        // stable while any of its chunks is claimed and not done
    std::vector<Share> shares = std::vector<Share>(1);
    alignas(64) std::atomic<long> undone{0};
    alignas(64) std::atomic<uint32_t> round{0};
    std::atomic<int> asleep{0};
    std::atomic<bool> stopping{false};
    std::vector<std::thread> workers;

    static uint32_t unclaimed(uint64_t t) { return uint32_t(t); }

    // Runs what is left of a share; how many chunks that were.
    long take(Share& share) {
        long done = 0;
        uint64_t seen = share.ticket.load(std::memory_order_acquire);
        while (unclaimed(seen)) {
            if (!share.ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel)) continue;
            long first = (share.end - long(unclaimed(seen))) * job.grain;
            long last = first + job.grain < job.tasks ? first + job.grain : job.tasks;
            for (long t = first; t < last; t++) job.body(job.context, t);
            done++;
            seen = share.ticket.load(std::memory_order_acquire);
        }
        return done;
    }

    void work(size_t own) {
        long done = 0;
        for (size_t i = 0; i < shares.size(); i++) done += take(shares[(own + i) % shares.size()]);
        if (done) undone.fetch_sub(done, std::memory_order_release);
    }

    bool idle(size_t own) const {
        return !unclaimed(shares[own].ticket.load(std::memory_order_acquire)) && !stopping.load(std::memory_order_relaxed);
    }

    void await(size_t own) {
        for (int i = 0; i < SPINS; i++) {
            if (!idle(own)) return;
            pause();
        }
        uint32_t seen = round.load();
        asleep.fetch_add(1);
        while (idle(own) && round.load() == seen) sleep_while(round, seen);
        asleep.fetch_sub(1);
    }

    void serve(size_t own);

    void announce() {
        round.fetch_add(1);
        if (asleep.load() > 0) wake_all(round);
    }

    void run(const Job& what) {
        job = what;
        undone.store(job.chunks, std::memory_order_relaxed);
        long count = long(shares.size());
        uint64_t number = (shares[0].ticket.load(std::memory_order_relaxed) >> 32) + 1;
        for (long i = count - 1; i >= 0; i--) {
            long from = job.chunks * i / count;
            shares[i].end = job.chunks * (i + 1) / count;
            shares[i].ticket.store(number << 32 | uint64_t(shares[i].end - from), std::memory_order_seq_cst);
        }
        announce();
        work(0);
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
        shares = std::vector<Share>(size_t(threads));
        for (long i = 1; i < threads; i++) workers.emplace_back([this, i] { serve(size_t(i)); });
    }
};

// Never destroyed: a worker may be asleep in it while the process exits.
Pool& pool = *new Pool;
thread_local bool inside = false;

void Pool::serve(size_t own) {
    inside = true;
    while (!stopping) {
        await(own);
        work(own);
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
