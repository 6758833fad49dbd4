"""Projections: plain, and of selected rows for the head."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait
from .tiles import product


@triton.jit
def linear_kernel(
    x, index, w, scales, zeros, bias, out, parts, counter, M, N, x_row,
    K: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr,
    INDEX: tl.constexpr, BIAS: tl.constexpr, BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr,
    SPAN: tl.constexpr, STAGES: tl.constexpr, SPLITS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[m, n] = x[index[m] or m] . w[n] + bias[n] in out's dtype, BM x BR outputs a program.

    Programs (blocks of m, blocks of n, shares of the columns): neighbours read the same weights.
    """
    begin(PDL)
    block = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    rows = tl.program_id(1) * BR + tl.arange(0, BR)
    live = rows < N
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    present = m < M
    if INDEX:
        wait(PDL)
        source = tl.load(index + m, mask=present, other=0)
    else:
        source = m
    offsets = source.to(tl.int64) * x_row
    start = x
    if BM == 1:
        start = x + tl.sum(offsets, 0)
    acc, last = product(start, offsets, present, x, x, 0.0, out, False, w, scales, zeros, rows, live,
                        parts, counter, block, tl.program_id(2),
                        K, FORMAT, GROUP, ZEROS, False, BM, BR, BK, SPAN, 1, STAGES, SPLITS, PDL)  # fmt: skip
    if last:
        if BIAS:
            acc += tl.load(bias + rows, mask=live, other=0.0).to(tl.float32)[None, :]
        pointers = out + m.to(tl.int64)[:, None] * N + rows[None, :]
        tl.store(pointers, acc.to(out.dtype.element_ty), mask=present[:, None] & live[None, :])
