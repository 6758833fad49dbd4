"""Where the next token of each decoding sequence goes, and the rows of any step."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def advance_kernel(
    newest, begins, pages, positions, slots, lengths, drawing, rows, pages_row,
    PAGE: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One thread a row. A row that is not in use is left as it is, and told apart by length 0 and slot -1."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = r < rows
    old = tl.load(newest + r, mask=there, other=-1)
    used = there & (old >= 0)
    now = tl.where(used, old + 1, 0)
    tl.store(newest + r, now, mask=used)
    page = tl.load(pages + r.to(tl.int64) * pages_row + now // PAGE, mask=used, other=0).to(tl.int64)
    first = tl.load(begins + r, mask=used, other=0)
    tl.store(positions + r, now, mask=there)
    tl.store(slots + r, tl.where(used, page * PAGE + now % PAGE, -1), mask=there)
    tl.store(lengths + r, tl.where(used, now + 1, 0).to(tl.int32), mask=there)
    tl.store(drawing + r, tl.where(used, now + 1 - first, 0), mask=there)


@triton.jit
def place_rows_kernel(
    tokens, ends, firsts, owners, drawn, pages, known, positions, slots, starts, lengths, lines,
    rows, sequences, blocks, pages_row, width,
    PAGE: tl.constexpr, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr, SPAN: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One thread a row in the first `blocks` programs, then a sequence's line of pages a program.

    How many sequences end before a row says whose it is; program 0 also says where each begins.
    """
    begin(PDL)
    wait(PDL)
    program = tl.program_id(0)
    if program >= blocks:
        line = tl.load(owners + program - blocks) * pages_row
        for at in range(0, width, SPAN):
            n = at + tl.arange(0, SPAN)
            page = tl.load(pages + line + n, mask=n < width, other=0)
            tl.store(lines + (program - blocks).to(tl.int64) * width + n, page, mask=n < width)
    else:
        t = program * BLOCK + tl.arange(0, BLOCK)
        there = t < rows
        s = tl.zeros((BLOCK,), tl.int32)
        if program == 0:
            tl.store(starts, 0)
        for at in range(0, sequences, AT_ONCE):
            j = at + tl.arange(0, AT_ONCE)
            real = j < sequences
            end = tl.load(ends + j, mask=real, other=0)
            s += tl.sum(((end[None, :] <= t[:, None]) & real[None, :]).to(tl.int32), 1)
            if program == 0:
                before = tl.load(ends + j - 1, mask=real & (j > 0), other=0)
                first = tl.load(firsts + j, mask=real, other=0)
                tl.store(starts + j + 1, end.to(tl.int32), mask=real)
                tl.store(lengths + j, (tl.maximum(first, 0) + end - before).to(tl.int32), mask=real)
        first = tl.load(firsts + s, mask=there, other=-1)
        start = tl.load(ends + s - 1, mask=there & (s > 0), other=0)
        owner = tl.load(owners + s, mask=there, other=0)
        used = there & (first >= 0)
        position = tl.where(used, first + t - start, 0)
        page = tl.load(pages + owner * pages_row + position // PAGE, mask=used, other=0).to(tl.int64)
        token = tl.load(tokens + t, mask=there, other=0)
        newest = tl.load(drawn + (-1 - token), mask=there & (token < 0), other=0)
        tl.store(known + t, tl.where(token < 0, newest, token), mask=there)
        tl.store(positions + t, position, mask=there)
        tl.store(slots + t, tl.where(used, page * PAGE + position % PAGE, -1), mask=there)
