"""The product of one activation row with some rows of a dense or packed matrix, on the ordinary cores.

A program holds BR weight rows times BK columns in registers, the next columns on their way.
"""

# mypy: ignore-errors
# ruff: noqa: RET505
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import wait


@triton.jit
def load_tile(w, rows, live, at, STORED: tl.constexpr):
    """Stored elements `at` of the weight rows `rows`: [BR, columns]. STORED is the row length in stored elements."""
    mask = live[:, None] & (at < STORED)[None, :]
    pointers = w + rows.to(tl.int64)[:, None] * STORED + at[None, :]
    if w.dtype.element_ty.is_floating():
        return tl.load(pointers, mask=mask, other=0.0, eviction_policy="evict_first")
    else:
        return tl.load(pointers, mask=mask, other=0, eviction_policy="evict_first")


@triton.jit
def first_column(at, FORMAT: tl.constexpr, GROUP: tl.constexpr):
    """The matrix column of each stored element; for int4 that of its low nibble, the high one's is GROUP / 2 later."""
    if FORMAT == "int4":
        return (at // (GROUP // 2)) * GROUP + at % (GROUP // 2)
    return at


@triton.jit
def inverse_rms(x, residual, total, write, eps, K: tl.constexpr, BLOCK: tl.constexpr):
    """1 / rms of x + residual (one row), rounded as the residual stream is; stores the sum to total if `write`."""
    at = tl.arange(0, BLOCK)
    inside = at < K
    value = tl.load(x + at, mask=inside, other=0.0)
    value = value.to(tl.float32) + tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    rounded = value.to(total.dtype.element_ty)
    tl.store(total + at, rounded, mask=inside & write)
    value = rounded.to(tl.float32)
    return tl.rsqrt(tl.sum(value * value, 0) / K + eps)


@triton.jit
def activations(x, residual, norm, inverse, at, K: tl.constexpr, NORM: tl.constexpr):
    """One row's activations at columns `at` in fp32, normalised with the reference's roundings if NORM."""
    inside = at < K
    value = tl.load(x + at, mask=inside, other=0.0)
    if NORM:
        kind = value.dtype
        summed = value.to(tl.float32) + tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        normed = (summed.to(kind).to(tl.float32) * inverse).to(kind).to(tl.float32)
        value = (normed * tl.load(norm + at, mask=inside, other=0.0).to(tl.float32)).to(kind)
    return value.to(tl.float32)


@triton.jit
def scale_of(s, rows, live, groups, COUNT: tl.constexpr):
    """Scales or zeros of the weight rows at `groups`: [BR, len(groups)], in fp32."""
    mask = live[:, None] & (groups < COUNT)[None, :]
    return tl.load(s + rows.to(tl.int64)[:, None] * COUNT + groups[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def vector_chunk(
    tile, x, residual, norm, inverse, scales, zeros, rows, live, start, at,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BR: tl.constexpr, BW: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """One chunk's contribution: [BR, BW] for dense weights, [BR, BW / SPAN] for packed ones, to be summed over axis 1.

    SPAN stored elements share a scale: the scale multiplies their sum.
    """
    column = first_column(at, FORMAT, GROUP)
    low = activations(x, residual, norm, inverse, column, K, NORM)
    if FORMAT == "dense":
        return tile.to(tl.float32) * low[None, :]
    if FORMAT == "int4":
        high = activations(x, residual, norm, inverse, column + GROUP // 2, K, NORM)
        raw = (tile & 15).to(tl.float32) * low[None, :] + (tile >> 4).to(tl.float32) * high[None, :]
        low += high
    else:
        raw = tile.to(tl.float32) * low[None, :]
    STORED_GROUP: tl.constexpr = GROUP // 2 if FORMAT == "int4" else GROUP
    groups = (start + tl.arange(0, BW // SPAN) * SPAN) // STORED_GROUP
    summed = tl.sum(tl.reshape(raw, (BR, BW // SPAN, SPAN)), 2) * scale_of(scales, rows, live, groups, K // GROUP)
    if ZEROS:
        x_sum = tl.sum(tl.reshape(low, (BW // SPAN, SPAN)), 1)
        summed += scale_of(zeros, rows, live, groups, K // GROUP) * x_sum[None, :]
    return summed


@triton.jit
def vector_product(
    x, residual, norm, eps, total, write, w, scales, zeros, rows, live,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """[BR] products of one activation row. The first weights are asked for before anything of the row is read."""
    PER: tl.constexpr = 2 if FORMAT == "int4" else 1
    STORED: tl.constexpr = K // PER
    BW: tl.constexpr = BK // PER
    WIDE: tl.constexpr = BW if FORMAT == "dense" else BW // SPAN
    STEPS: tl.constexpr = (STORED + BW - 1) // BW
    at = tl.arange(0, BW)
    tile = load_tile(w, rows, live, at, STORED)
    wait(PDL)
    inverse = 1.0
    if NORM:
        inverse = inverse_rms(x, residual, total, write, eps, K, KP)
    acc = tl.zeros((BR, WIDE), tl.float32)
    for step in tl.static_range(STEPS):
        here = tile
        if step + 1 < STEPS:
            tile = load_tile(w, rows, live, at + (step + 1) * BW, STORED)
        acc += vector_chunk(here, x, residual, norm, inverse, scales, zeros, rows, live, step * BW, at + step * BW,
                            K, FORMAT, GROUP, ZEROS, NORM, BR, BW, SPAN)  # fmt: skip
    return tl.sum(acc, 1)
