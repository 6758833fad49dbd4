"""Rotation of heads, and rotation with the cache write for a whole qkv projection."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def rope_kernel(
    x, positions, cos, sin, out, x_row, x_head,
    HEADS: tl.constexpr, HALF: tl.constexpr, BH: tl.constexpr, BD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """BH heads of one row a program, both halves at once."""
    begin(PDL)
    wait(PDL)
    t = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BH + tl.arange(0, BH)
    i = tl.arange(0, BD)
    at = tl.load(positions + t) * HALF + i
    c = tl.load(cos + at, mask=i < HALF, other=0.0)[None, :]
    s = tl.load(sin + at, mask=i < HALF, other=0.0)[None, :]
    inside = (head < HEADS)[:, None] & (i < HALF)[None, :]
    source = x + t * x_row + head[:, None] * x_head + i[None, :]
    a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    target = out + (t * HEADS + head[:, None]) * (2 * HALF) + i[None, :]
    tl.store(target, (a * c - b * s).to(out.dtype.element_ty), mask=inside)
    tl.store(target + HALF, (b * c + a * s).to(out.dtype.element_ty), mask=inside)


@triton.jit
def rope_write_kernel(
    qkv, positions, slots, cos, sin, q, k_cache, v_cache, page_stride, head_stride, slot_stride,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, PAGE: tl.constexpr,
    BH: tl.constexpr, BD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Split one row of a joint projection: rotated queries to q, rotated keys and plain values to the cache."""
    begin(PDL)
    wait(PDL)
    ALL: tl.constexpr = HEADS + 2 * KV_HEADS
    t = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BH + tl.arange(0, BH)
    i = tl.arange(0, BD)
    at = tl.load(positions + t) * HALF + i
    turned = (head < HEADS + KV_HEADS)[:, None]
    c = tl.where(turned, tl.load(cos + at, mask=i < HALF, other=0.0)[None, :], 1.0)
    s = tl.where(turned, tl.load(sin + at, mask=i < HALF, other=0.0)[None, :], 0.0)
    inside = (head < ALL)[:, None] & (i < HALF)[None, :]
    source = qkv + (t * ALL + head[:, None]) * (2 * HALF) + i[None, :]
    a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    low, high = (a * c - b * s).to(q.dtype.element_ty), (b * c + a * s).to(q.dtype.element_ty)
    is_q = (head < HEADS)[:, None]
    target = q + (t * HEADS + head[:, None]) * (2 * HALF) + i[None, :]
    tl.store(target, low, mask=inside & is_q)
    tl.store(target + HALF, high, mask=inside & is_q)
    slot = tl.load(slots + t)
    kv_head = (head - HEADS) % KV_HEADS
    row = (slot // PAGE) * page_stride + kv_head[:, None] * head_stride + (slot % PAGE) * slot_stride + i[None, :]
    kept = inside & (slot >= 0)
    is_k = kept & (head >= HEADS)[:, None] & turned
    tl.store(k_cache + row, low, mask=is_k)
    tl.store(k_cache + row + HALF, high, mask=is_k)
    is_v = kept & (head >= HEADS + KV_HEADS)[:, None]
    tl.store(v_cache + row, low, mask=is_v)
    tl.store(v_cache + row + HALF, high, mask=is_v)
