"""Penalties for seen tokens: the counts are kept, so that this is one pass over the rows that ask."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def penalize_kernel(
    logits, counts, rows, lanes, presence, frequency, repetition, VOCAB, row_stride, lane_stride,
    PROMPT: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Repetition first, then frequency and presence, rounded where the reference rounds."""
    begin(PDL)
    wait(PDL)
    k = tl.program_id(0)
    row, lane = tl.load(rows + k), tl.load(lanes + k)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < VOCAB
    value = tl.load(logits + row * row_stride + i, mask=inside, other=0.0)
    seen = tl.load(counts + lane * lane_stride + i, mask=inside, other=0)
    factor = tl.load(repetition + k)
    value = tl.where(seen > 0, tl.where(value > 0, tl.div_rn(value, factor), value * factor), value)
    said = seen % PROMPT
    value -= tl.load(frequency + k) * said.to(tl.float32)
    value -= tl.load(presence + k) * (said > 0).to(tl.float32)
    tl.store(logits + row * row_stride + i, value, mask=inside)
