"""Projections with what comes before (the norm) and after (gate, rotation and cache write) in one kernel.

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
from .tiles import product, squares_of


@triton.jit
def gate_up_kernel(
    x, residual, norm, eps, total, w, scales, zeros, out, parts, counter, M, x_row,
    HIDDEN: tl.constexpr,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr, BEHIND: tl.constexpr,
):  # fmt: skip
    """out[m, n] = silu(x[m] . w[n]) * (x[m] . w[HIDDEN + n]), BM x BR / 2 outputs a program; programs as in linear.

    BEHIND a norm whose factor x lacks, `residual` has the squares of each 64 of a row's numbers, in fp32.
    """
    begin(PDL)
    column = tl.program_id(1)
    block = column * tl.num_programs(0) + tl.program_id(0)
    pair = tl.arange(0, BR)
    n = column * (BR // 2) + pair // 2
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    present = m < M
    row = m.to(tl.int64)
    if BEHIND:
        squares = squares_of(residual, row, present, K // 64, KP // 64, PDL)
    acc, last = product(x, row * x_row, present, residual, norm, eps, total, column == 0,
                        w, scales, zeros, n + (pair % 2) * HIDDEN, n < HIDDEN,
                        parts, counter, block, tl.program_id(2),
                        K, FORMAT, GROUP, ZEROS, NORM, BM, BR, BK, SPAN, KP, STAGES, SPLITS, PDL)  # fmt: skip
    if last:
        if BEHIND:
            acc *= tl.rsqrt(tl.sum(squares, 1) / K + eps)[:, None]
        gate, up = tl.split(tl.reshape(acc, (BM, BR // 2, 2)))
        made = column * (BR // 2) + tl.arange(0, BR // 2)
        pointers = out + row[:, None] * HIDDEN + made[None, :]
        inside = present[:, None] & (made < HIDDEN)[None, :]
        tl.store(pointers, (silu(gate) * up).to(out.dtype.element_ty), mask=inside)


@triton.jit
def qkv_kernel(
    x, residual, norm, eps, total, positions, slots, k_cache, v_cache, w, scales, zeros, bias, cos, sin, q,
    parts, counter, M, x_row, page_stride, head_stride, slot_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, BIAS: tl.constexpr,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr, BEHIND: tl.constexpr,
):  # fmt: skip
    """Queries to q, rotated keys and values to the cache; a program makes BR / 2 pairs (i, i + DIM / 2) of a head.

    BEHIND as in `gate_up_kernel`.
    """
    begin(PDL)
    HALF: tl.constexpr = DIM // 2
    BLOCKS: tl.constexpr = (HALF + BR // 2 - 1) // (BR // 2)
    column = tl.program_id(1)
    block = column * tl.num_programs(0) + tl.program_id(0)
    head = column // BLOCKS
    first = (column % BLOCKS) * (BR // 2)
    pair = tl.arange(0, BR)
    i = first + pair // 2
    rows = head * DIM + i + (pair % 2) * HALF
    live = i < HALF
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    present = m < M
    row = m.to(tl.int64)
    if BEHIND:
        squares = squares_of(residual, row, present, K // 64, KP // 64, PDL)
    acc, last = product(x, row * x_row, present, residual, norm, eps, total, column == 0,
                        w, scales, zeros, rows, live, parts, counter, block, tl.program_id(2),
                        K, FORMAT, GROUP, ZEROS, NORM, BM, BR, BK, SPAN, KP, STAGES, SPLITS, PDL)  # fmt: skip
    if last:
        if BEHIND:
            acc *= tl.rsqrt(tl.sum(squares, 1) / K + eps)[:, None]
        if BIAS:
            acc += tl.load(bias + rows, mask=live, other=0.0).to(tl.float32)[None, :]
        a, b = tl.split(tl.reshape(acc, (BM, BR // 2, 2)))
        made = first + tl.arange(0, BR // 2)
        inside = present[:, None] & (made < HALF)[None, :]
        if head < HEADS + KV_HEADS:
            at = tl.load(positions + m, mask=present, other=0)[:, None] * HALF + made[None, :]
            c = tl.load(cos + at, mask=inside, other=0.0)
            s = tl.load(sin + at, mask=inside, other=0.0)
            a, b = a * c - b * s, b * c + a * s
        low, high = a.to(q.dtype.element_ty), b.to(q.dtype.element_ty)
        if head < HEADS:
            pointers = q + (row[:, None] * HEADS + head) * DIM + made[None, :]
            tl.store(pointers, low, mask=inside)
            tl.store(pointers + HALF, high, mask=inside)
        else:
            slot = tl.load(slots + m, mask=present, other=-1)
            kv_head = (head - HEADS) % KV_HEADS
            place = (slot // PAGE) * page_stride + kv_head * head_stride + (slot % PAGE) * slot_stride
            at = place[:, None] + made[None, :]
            keep = inside & (slot >= 0)[:, None]
            if head < HEADS + KV_HEADS:
                tl.store(k_cache + at, low, mask=keep)
                tl.store(k_cache + at + HALF, high, mask=keep)
            else:
                tl.store(v_cache + at, low, mask=keep)
                tl.store(v_cache + at + HALF, high, mask=keep)
