// Ops that move as much as they compute: activations, rotation, cache writes, embeddings, the places of next tokens.
#include "half.h"
#include "plan.h"
#include "rotary.h"

template <class F> static void rows_in_parallel(long rows, long width, const F& one) {
    if (rows * width < 32768)
        for (long r = 0; r < rows; r++) one(r);
    else parallel(rows, 4, one);
}

template <class T, class A> static void gated(const T* x, long rows, long width, T* out, A activation) {
    rows_in_parallel(rows, width, [&](long r) {
        const T *gate = x + 2 * r * width, *up = gate + width;
        for (long i = 0; i < width; i += LANES) store(out + r * width + i, activation(load(gate + i, width - i)) * load(up + i, width - i), width - i);
    });
}

extern "C" void ri_gated(long dtype, long gelu_form, const void* x, long rows, long width, void* out) {
    auto run = [&](auto* typed, auto* to) {
        if (gelu_form) gated(typed, rows, width, to, [](vf v) { return gelu(v); });
        else gated(typed, rows, width, to, [](vf v) { return silu(v); });
    };
    if (dtype == FLOAT32) run((const f32*)x, (f32*)out);
    else run((const bf16*)x, (bf16*)out);
}

template <class T> static void rope(const T* x, long ldx, long ldh, const int64_t* positions, const float* cos, const float* sin, long rows, long heads, long dim, T* out) {
    long half = dim / 2;
    rows_in_parallel(rows, heads * dim, [&](long r) {
        for (long h = 0; h < heads; h++) rotate(x + r * ldx + h * ldh, cos + positions[r] * half, sin + positions[r] * half, half, out + (r * heads + h) * dim);
    });
}

extern "C" void ri_rope(long dtype, const void* x, long ldx, long ldh, const int64_t* positions, const float* cos, const float* sin, long rows, long heads, long dim, void* out) {
    if (dtype == FLOAT32) rope((const f32*)x, ldx, ldh, positions, cos, sin, rows, heads, dim, (f32*)out);
    else rope((const bf16*)x, ldx, ldh, positions, cos, sin, rows, heads, dim, (bf16*)out);
}

// Strides of k and v (row, head) are in bytes, as is `bytes`, the size of one head's numbers.
extern "C" void ri_write_kv(const char* k, long ldk, long ldkh, const char* v, long ldv, long ldvh, char* k_cache, char* v_cache, const int64_t* slots, long rows, long heads, long size, long bytes) {
    rows_in_parallel(rows, heads * bytes / 4, [&](long r) {
        if (slots[r] < 0) return;
        for (long h = 0; h < heads; h++) {
            memcpy(cell<char>(k_cache, slots[r], size, heads, h, bytes), k + r * ldk + h * ldkh, size_t(bytes));
            memcpy(cell<char>(v_cache, slots[r], size, heads, h, bytes), v + r * ldv + h * ldvh, size_t(bytes));
        }
    });
}

// One table row of an int4 or int8 weight in torch's own layout, a group at a time.
struct Table {
    long kind, columns, group, wide;
    const uint8_t *data, *scales, *zeros;
    float scale(const uint8_t* from, int64_t i) const {
        if (!from) return 0;
        if (wide) return ((const float*)from)[i];
        return half_to_float(((const uint16_t*)from)[i]);
    }
};

template <class T> static void look_up(const Table& t, int64_t token, T* out) {
    long groups = t.columns / t.group, half = t.group / 2;
    for (long g = 0; g < groups; g++, out += t.group) {
        float s = t.scale(t.scales, token * groups + g), z = t.scale(t.zeros, token * groups + g);
        if (t.kind == INT8) {
            const int8_t* from = (const int8_t*)t.data + token * t.columns + g * t.group;
            for (long i = 0; i < t.group; i++) narrow(float(from[i]) * s + z, out[i]);
        } else {
            const uint8_t* from = t.data + token * (t.columns / 2) + g * half;
            for (long i = 0; i < half; i++) narrow(float(from[i] & 15) * s + z, out[i]), narrow(float(from[i] >> 4) * s + z, out[i + half]);
        }
    }
}

extern "C" void ri_embedding(const Table* t, long dtype, const int64_t* tokens, long rows, void* out) {
    rows_in_parallel(rows, t->columns, [&](long r) {
        if (dtype == FLOAT32) look_up(*t, tokens[r], (f32*)out + r * t->columns);
        else look_up(*t, tokens[r], (bf16*)out + r * t->columns);
    });
}

// Strides are in elements. A row whose newest token is at a negative position takes no part.
extern "C" void ri_advance(int64_t* newest, long ldn, const int64_t* begin, long ldb, const int32_t* pages, long ldp, long step, long rows, long size, int64_t* positions, int64_t* slots, int32_t* lengths, int64_t* drawing) {
    for (long r = 0; r < rows; r++) {
        int64_t& at = newest[r * ldn];
        bool used = at >= 0;
        at += used;
        positions[r] = used ? at : 0;
        slots[r] = used ? int64_t(pages[r * ldp + at / size * step]) * size + at % size : -1;
        lengths[r] = used ? int32_t(at + 1) : 0;
        drawing[r] = used ? at + 1 - begin[r * ldb] : 0;
    }
}
