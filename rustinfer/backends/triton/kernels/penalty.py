"""Penalties for seen tokens: what was seen is scattered into a count for each vocabulary entry, then applied to all."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def scatter(tokens, counts, width, row, VOCAB, worth, BLOCK: tl.constexpr):
    """Add `worth` to the counts of one block of one row's tokens; padding (VOCAB) is left out."""
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    token = tl.load(tokens + row * width + at, mask=at < width, other=VOCAB)
    tl.atomic_add(counts + row * VOCAB + token, worth, mask=token < VOCAB, sem="relaxed")


@triton.jit(do_not_specialize=["prompt_width", "output_width"])  # one kernel for histories of any length
def occurrences_kernel(
    prompt, output, counts, prompt_width, output_width, VOCAB,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """counts[row, token] = times in the output, plus SEEN for each in the prompt: [R, VOCAB] int64, zero before."""
    begin(PDL)
    wait(PDL)
    row = tl.program_id(0).to(tl.int64)
    scatter(prompt, counts, prompt_width, row, VOCAB, tl.full((BLOCK,), SEEN, tl.int64), BLOCK)
    scatter(output, counts, output_width, row, VOCAB, tl.full((BLOCK,), 1, tl.int64), BLOCK)


@triton.jit
def penalize_kernel(
    logits, counts, presence, frequency, repetition, out, VOCAB, row_stride,
    SEEN: tl.constexpr, BLOCK: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Repetition first, then frequency and presence, rounded where the reference rounds."""
    begin(PDL)
    wait(PDL)
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < VOCAB
    value = tl.load(logits + row * row_stride + i, mask=inside, other=0.0)
    seen = tl.load(counts + row * VOCAB + i, mask=inside, other=0)
    factor = tl.load(repetition + row)
    value = tl.where(seen > 0, tl.where(value > 0, tl.div_rn(value, factor), value * factor), value)
    said = seen % SEEN
    value -= tl.load(frequency + row) * said.to(tl.float32)
    value -= tl.load(presence + row) * (said > 0).to(tl.float32)
    tl.store(out + row * VOCAB + i, value, mask=inside)
