// Every layer of a decoder stack for one row of each sequence: what the host would call op by op, without the host.
#include "plan.h"

extern "C" {
struct Shape;
void ri_linear(const Plan* p, const void* x, long rows, void* out);
void ri_gate_up(const Plan* p, const void* x, const void* residual, long rows, void* total, void* out);
void ri_qkv(const Plan* p, const void* x, const void* residual, const int64_t* positions, const int64_t* slots, void* k, void* v, long size, long rows, void* total, void* q);
void ri_attention(const Shape* f, const void* q, long ldq, long ldh, const void* k, const void* v, const int32_t* starts, const int32_t* lengths, const int32_t* pages, long ldp, long rows, long sequences, long heads, long kv_heads, long dim, long size, void* out);
}

struct Layer {
    Plan qkv, out, gate_up, down;
};

struct Layers {
    long count;
    const Layer* at;
    const Shape* attention;
};

// x and residual, rows of the stack's width: in, the first layer's input as their sum; out, the last layer's output and what
// it is yet to be added to. caches: the addresses of each layer's keys and values, in pages of `size` positions.
extern "C" void ri_layers(const Layers* s, void* x, void* residual, const int64_t* positions, const int64_t* slots, const int32_t* starts, const int32_t* lengths, const int32_t* pages, long ldp, void* const* caches, long size, long rows) {
    const Plan &first = s->at->qkv, &mlp = s->at->gate_up;
    long number = first.dtype == FLOAT32 ? 4 : 2, mixed = first.heads * first.dim;
    auto room = [&](long columns) { return (rows * columns * number + 63) / 64 * 64; };
    char* total = scratch<char>(STACK, room(first.w.columns) + 2 * room(mixed) + room(mlp.w.rows / 2));
    char *q = total + room(first.w.columns), *seen = q + room(mixed), *inner = seen + room(mixed);
    for (long i = 0; i < s->count; i++) {
        const Layer& l = s->at[i];
        void *k = caches[2 * i], *v = caches[2 * i + 1];
        ri_qkv(&l.qkv, x, residual, positions, slots, k, v, size, rows, total, q);
        ri_attention(s->attention, q, mixed, first.dim, k, v, starts, lengths, pages, ldp, rows, rows, first.heads, first.kv_heads, first.dim, size, seen);
        ri_linear(&l.out, seen, rows, x);
        ri_gate_up(&l.gate_up, x, total, rows, residual, inner);
        ri_linear(&l.down, inner, rows, x);
    }
}
