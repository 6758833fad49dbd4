"""The product of a few activation rows with some rows of a dense or packed matrix: the core of every decode projection.

One row (BM == 1) runs on the ordinary cores: a program holds BR weight rows times BK columns in registers, the next
columns on their way. More rows run on the tensor cores, BM padded to 16, weights streamed through shared memory.
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


@triton.jit
def dequantised(raw, scales, zeros, rows, live, start, kind: tl.constexpr,
                K: tl.constexpr, GROUP: tl.constexpr, SGROUP: tl.constexpr, ZEROS: tl.constexpr,
                BR: tl.constexpr, BW: tl.constexpr, SPAN: tl.constexpr):  # fmt: skip
    """raw * scale + zero in fp32, rounded to `kind`: [BR, BW]. SGROUP stored elements have a scale of their own."""
    groups = (start + tl.arange(0, BW // SPAN) * SPAN) // SGROUP
    scale = scale_of(scales, rows, live, groups, K // GROUP)
    value = tl.reshape(raw.to(tl.float32), (BR, BW // SPAN, SPAN)) * scale[:, :, None]
    if ZEROS:
        value += scale_of(zeros, rows, live, groups, K // GROUP)[:, :, None]
    return tl.reshape(value, (BR, BW)).to(kind)


@triton.jit
def load_rows(x, offsets, present, at, K: tl.constexpr):
    """Activations [BM, columns] of the rows at `offsets`."""
    return tl.load(x + offsets[:, None] + at[None, :], mask=present[:, None] & (at < K)[None, :], other=0.0)


@triton.jit
def matrix_product(
    x, offsets, present, w, scales, zeros, rows, live,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """[BM, BR] products of the activation rows at `offsets`, accumulated in fp32 on the tensor cores."""
    PER: tl.constexpr = 2 if FORMAT == "int4" else 1
    STORED: tl.constexpr = K // PER
    BW: tl.constexpr = BK // PER
    kind: tl.constexpr = x.dtype.element_ty
    acc = tl.zeros((BM, BR), tl.float32)
    for start in tl.range(0, STORED, BW, num_stages=STAGES):
        at = start + tl.arange(0, BW)
        tile = load_tile(w, rows, live, at, STORED)
        column = first_column(at, FORMAT, GROUP)
        low = load_rows(x, offsets, present, column, K)
        if FORMAT == "dense":
            acc = tl.dot(low, tl.trans(tile), acc, input_precision="ieee")
        elif FORMAT == "int4":
            high = load_rows(x, offsets, present, column + GROUP // 2, K)
            first = dequantised(
                tile & 15, scales, zeros, rows, live, start, kind, K, GROUP, GROUP // 2, ZEROS, BR, BW, SPAN
            )
            second = dequantised(
                tile >> 4, scales, zeros, rows, live, start, kind, K, GROUP, GROUP // 2, ZEROS, BR, BW, SPAN
            )
            acc = tl.dot(low, tl.trans(first), acc, input_precision="ieee")
            acc = tl.dot(high, tl.trans(second), acc, input_precision="ieee")
        else:
            value = dequantised(tile, scales, zeros, rows, live, start, kind, K, GROUP, GROUP, ZEROS, BR, BW, SPAN)
            acc = tl.dot(low, tl.trans(value), acc, input_precision="ieee")
    return acc


@triton.jit
def product(
    x, offsets, present, residual, norm, eps, total, write, w, scales, zeros, rows, live,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """[BM, BR] products in fp32. BM == 1 reads the row at `x` itself and may normalise it; else `offsets` apply."""
    if BM == 1:
        one = vector_product(x, residual, norm, eps, total, write, w, scales, zeros, rows, live,
                             K, FORMAT, GROUP, ZEROS, NORM, BR, BK, SPAN, KP, PDL)  # fmt: skip
        return one[None, :]
    else:
        wait(PDL)
        return matrix_product(x, offsets, present, w, scales, zeros, rows, live,
                              K, FORMAT, GROUP, ZEROS, BM, BR, BK, SPAN, STAGES)  # fmt: skip
