"""Projections of a few rows with what comes before (the norm) and after (gate, rotation and cache write) in one kernel.

Both read weight rows in pairs: gate with up, the two halves of a head. Pairs are interleaved in the tile and split
after the product.
"""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .activation import silu
from .common import begin
from .matvec import product


@triton.jit
def gate_up_kernel(
    x, residual, norm, eps, total, w, scales, zeros, out, M, x_row,
    HIDDEN: tl.constexpr,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[m, n] = silu(x[m] . w[n]) * (x[m] . w[HIDDEN + n]), BR / 2 outputs a program."""
    begin(PDL)
    block = tl.program_id(0)
    pair = tl.arange(0, BR)
    n = block * (BR // 2) + pair // 2
    m = tl.arange(0, BM)
    present = m < M
    acc = product(x, m.to(tl.int64) * x_row, present, residual, norm, eps, total, block == 0, w, scales, zeros,
                  n + (pair % 2) * HIDDEN, n < HIDDEN,
                  K, FORMAT, GROUP, ZEROS, NORM, BM, BR, BK, SPAN, KP, STAGES, PDL)  # fmt: skip
    gate, up = tl.split(tl.reshape(acc, (BM, BR // 2, 2)))
    n = block * (BR // 2) + tl.arange(0, BR // 2)
    pointers = out + m.to(tl.int64)[:, None] * HIDDEN + n[None, :]
    tl.store(pointers, (silu(gate) * up).to(out.dtype.element_ty), mask=present[:, None] & (n < HIDDEN)[None, :])


@triton.jit
def qkv_kernel(
    x, residual, norm, eps, total, positions, slots, k_cache, v_cache, w, scales, zeros, bias, cos, sin, q, M, x_row,
    page_stride, head_stride, slot_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, BIAS: tl.constexpr,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Queries to q, rotated keys and values to the cache; a program makes BR / 2 pairs (i, i + DIM / 2) of a head."""
    begin(PDL)
    HALF: tl.constexpr = DIM // 2
    BLOCKS: tl.constexpr = (HALF + BR // 2 - 1) // (BR // 2)
    program = tl.program_id(0)
    head = program // BLOCKS
    first = (program % BLOCKS) * (BR // 2)
    pair = tl.arange(0, BR)
    i = first + pair // 2
    rows = head * DIM + i + (pair % 2) * HALF
    live = i < HALF
    m = tl.arange(0, BM)
    present = m < M
    acc = product(x, m.to(tl.int64) * x_row, present, residual, norm, eps, total, program == 0, w, scales, zeros,
                  rows, live, K, FORMAT, GROUP, ZEROS, NORM, BM, BR, BK, SPAN, KP, STAGES, PDL)  # fmt: skip
    if BIAS:
        acc += tl.load(bias + rows, mask=live, other=0.0).to(tl.float32)[None, :]
    a, b = tl.split(tl.reshape(acc, (BM, BR // 2, 2)))
    i = first + tl.arange(0, BR // 2)
    inside = present[:, None] & (i < HALF)[None, :]
    if head < HEADS + KV_HEADS:
        at = tl.load(positions + m, mask=present, other=0)[:, None] * HALF + i[None, :]
        c = tl.load(cos + at, mask=inside, other=0.0)
        s = tl.load(sin + at, mask=inside, other=0.0)
        a, b = a * c - b * s, b * c + a * s
    if head < HEADS:
        low = q + (m.to(tl.int64)[:, None] * HEADS + head) * DIM + i[None, :]
        tl.store(low, a.to(q.dtype.element_ty), mask=inside)
        tl.store(low + HALF, b.to(q.dtype.element_ty), mask=inside)
    else:
        slot = tl.load(slots + m, mask=present, other=-1)
        kv_head = (head - HEADS) % KV_HEADS
        row = (slot // PAGE) * page_stride + kv_head * head_stride + (slot % PAGE) * slot_stride
        at = row[:, None] + i[None, :]
        keep = inside & (slot >= 0)[:, None]
        if head < HEADS + KV_HEADS:
            tl.store(k_cache + at, a.to(q.dtype.element_ty), mask=keep)
            tl.store(k_cache + at + HALF, b.to(q.dtype.element_ty), mask=keep)
        else:
            tl.store(v_cache + at, a.to(q.dtype.element_ty), mask=keep)
            tl.store(v_cache + at + HALF, b.to(q.dtype.element_ty), mask=keep)
