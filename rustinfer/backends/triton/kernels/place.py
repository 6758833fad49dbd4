"""Where the next token of each decoding sequence goes."""

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
