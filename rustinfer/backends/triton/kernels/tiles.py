"""The product of several activation rows with some rows of a dense or packed matrix, on the tensor cores.

A program makes BM x BR outputs from all columns of the matrix, or from one of SPLITS shares of them. Weights come
through shared memory, STAGES tiles deep.
"""

# mypy: ignore-errors
# ruff: noqa: RET505
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import last_to_arrive, wait
from .matvec import first_column, load_tile, scale_of, vector_product


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
    x, offsets, present, w, scales, zeros, rows, live, split,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, STAGES: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """[BM, BR] products over one share of the columns, in fp32."""
    PER: tl.constexpr = 2 if FORMAT == "int4" else 1
    STORED: tl.constexpr = K // PER
    BW: tl.constexpr = BK // PER
    STEPS: tl.constexpr = ((STORED + BW - 1) // BW + SPLITS - 1) // SPLITS
    kind: tl.constexpr = x.dtype.element_ty
    begins = split * STEPS * BW
    acc = tl.zeros((BM, BR), tl.float32)
    for start in tl.range(begins, tl.minimum(begins + STEPS * BW, STORED), BW, num_stages=STAGES):
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
def gathered(acc, parts, counter, block, split, BM: tl.constexpr, BR: tl.constexpr, SPLITS: tl.constexpr):
    """The sum over all shares, in their order, for the program that comes last; and whether this one does."""
    last = block >= 0
    if SPLITS > 1:
        cells = tl.arange(0, BM)[:, None] * BR + tl.arange(0, BR)[None, :]
        tl.store(parts + (block * SPLITS + split) * (BM * BR) + cells, acc)
        last = last_to_arrive(counter + block, SPLITS)
        if last:
            acc = tl.zeros((BM, BR), tl.float32)
            for share in tl.static_range(SPLITS):
                acc += tl.load(parts + (block * SPLITS + share) * (BM * BR) + cells, cache_modifier=".cg")
    return acc, last


@triton.jit
def squares_of(squares, row, present, COUNT: tl.constexpr, POWER: tl.constexpr, PDL: tl.constexpr):
    """COUNT sums of squares a row [BM, POWER], asked for ahead of a product of rows that lack their norm's factor."""
    wait(PDL)
    at = tl.arange(0, POWER)
    return tl.load(
        squares + row[:, None] * COUNT + at[None, :], mask=present[:, None] & (at < COUNT)[None, :], other=0.0
    )


@triton.jit
def product(
    x, offsets, present, residual, norm, eps, total, write, w, scales, zeros, rows, live,
    parts, counter, block, split,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr, NORM: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, SPAN: tl.constexpr, KP: tl.constexpr,
    STAGES: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """[BM, BR] products in fp32, and whether this program is the one to use them: the last of the shares of `block`.

    BM == 1 reads the row at `x` itself, may normalise it, and has no shares; else `offsets` apply.
    """
    if BM == 1:
        one = vector_product(x, residual, norm, eps, total, write, w, scales, zeros, rows, live,
                             K, FORMAT, GROUP, ZEROS, NORM, BR, BK, SPAN, KP, PDL)  # fmt: skip
        return one[None, :], block >= 0
    else:
        wait(PDL)
        acc = matrix_product(x, offsets, present, w, scales, zeros, rows, live, split,
                             K, FORMAT, GROUP, ZEROS, BM, BR, BK, SPAN, STAGES, SPLITS)  # fmt: skip
        return gathered(acc, parts, counter, block, split, BM, BR, SPLITS)
