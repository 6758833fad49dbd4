"""Rows of a dense or packed matrix, picked or all of them."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def row_block(w, scales, zeros, row, at, WIDTH: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr,
              ZEROS: tl.constexpr):  # fmt: skip
    """The numbers of one row at the columns `at`; a nibble's byte is read by each of its two columns."""
    inside = at < WIDTH
    if FORMAT == "dense":
        value = tl.load(w + row * WIDTH + at, mask=inside)
    else:
        if FORMAT == "int4":
            within = at % GROUP
            byte = tl.load(w + row * (WIDTH // 2) + (at // GROUP) * (GROUP // 2) + within % (GROUP // 2), mask=inside)
            raw = tl.where(within < GROUP // 2, byte & 15, byte >> 4).to(tl.float32)
        else:
            raw = tl.load(w + row * WIDTH + at, mask=inside).to(tl.float32)
        group = row * (WIDTH // GROUP) + at // GROUP
        value = raw * tl.load(scales + group, mask=inside).to(tl.float32)
        if ZEROS:
            value += tl.load(zeros + group, mask=inside).to(tl.float32)
    return value


@triton.jit
def embedding_kernel(
    tokens, w, scales, zeros, out,
    WIDTH: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr,
    BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[t] = w[tokens[t]], a block of columns a program."""
    begin(PDL)
    wait(PDL)
    t = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = row_block(w, scales, zeros, tl.load(tokens + t).to(tl.int64), at, WIDTH, FORMAT, GROUP, ZEROS)
    tl.store(out + t * WIDTH + at, value.to(out.dtype.element_ty), mask=at < WIDTH)


@triton.jit
def dequantise_kernel(
    w, scales, zeros, out,
    WIDTH: tl.constexpr, FORMAT: tl.constexpr, GROUP: tl.constexpr, ZEROS: tl.constexpr,
    BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out = w, a block of one row's columns a program. What it overwrites may still be read: it waits to write."""
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = row_block(w, scales, zeros, row, at, WIDTH, FORMAT, GROUP, ZEROS)
    wait(PDL)
    tl.store(out + row * WIDTH + at, value.to(out.dtype.element_ty), mask=at < WIDTH)
