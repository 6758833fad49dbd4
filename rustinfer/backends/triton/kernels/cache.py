"""Writing keys and values into the paged cache."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def write_kv_kernel(
    k, v, k_cache, v_cache, slots, k_row, k_head, v_row, v_head, page_stride, head_stride, slot_stride,
    HEADS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, BH: tl.constexpr, BD: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One row's heads to its slot; nothing where the slot is negative."""
    begin(PDL)
    wait(PDL)
    t = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, BH)[:, None]
    i = tl.arange(0, BD)[None, :]
    slot = tl.load(slots + t)
    inside = (head < HEADS) & (i < DIM) & (slot >= 0)
    target = (slot // PAGE) * page_stride + head * head_stride + (slot % PAGE) * slot_stride + i
    tl.store(k_cache + target, tl.load(k + t * k_row + head * k_head + i, mask=inside), mask=inside)
    tl.store(v_cache + target, tl.load(v + t * v_row + head * v_head + i, mask=inside), mask=inside)
