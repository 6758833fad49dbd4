"""Choosing the next token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import INTERPRETED, triton
from .launch import pdl, power

BLOCK = 16384 if INTERPRETED else 4096
DRAW_WARPS = 8
DRAW_REGISTERS = 128  # of a thread: with more, one program has a multiprocessor to itself
PROGRAMS = 1024  # of the search for cut-offs: enough to fill the chip, few enough to cost little where nobody asks
BANDS = 32  # of half a unit of logit each: further down than 16, a token has less than 1e-7 of the peak's mass


def stages(target: Target, logits: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, int]]:
    """Scratch for each row's block winners (values, indices, arrival counters), and the constants of the blocks."""
    rows, vocab = logits.shape
    block, space = min(power(vocab, 4), BLOCK), target.workspace
    count = -(-vocab // block)
    best = space.scratch(logits.device, "winners", rows * count)
    at = space.scratch(logits.device, "indices", rows * count, torch.int32)
    return (best, at, space.counters(logits.device, rows)), {"BLOCK": block, "BLOCKS": count, "BP": power(count)}


@triton.kernel(ops.argmax, build=True, batch_invariant=True)
def argmax(target: Target) -> Function:
    """Blocks of each row, then the blocks' winners, in one launch."""
    from .kernels.sampling import argmax_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(logits: Tensor) -> Tensor:
        rows, vocab = logits.shape
        out = torch.empty(rows, dtype=torch.int64, device=logits.device)
        if rows:
            space, shape = stages(target, logits)
            argmax_kernel[(rows, shape["BLOCKS"])](logits, *space, out, vocab, logits.stride(0), **shape, **config)
        return out

    return call


@triton.kernel(ops.sample, build=True, batch_invariant=True)
def sample(target: Target) -> Function:
    """The rows' cut-offs, found without sorting; then a noisy argmax. Rows that restrict nothing skip the search."""
    from .kernels.sampling import draw_kernel

    config = pdl(target)

    def call(
        logits: Tensor,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
        min_p: Tensor,
        seeds: Tensor,
        positions: Tensor,
    ) -> Tensor:
        rows, vocab = logits.shape
        out = torch.empty(rows, dtype=torch.int64, device=logits.device)
        if rows:
            space, shape = stages(target, logits)
            limits = cutoffs(logits, (temperature, top_k, top_p), min_p, shape, config)
            draw_kernel[(rows, shape["BLOCKS"])](
                logits, temperature, limits, seeds, positions, *space, out, vocab, logits.stride(0),
                FAST=not INTERPRETED, num_warps=DRAW_WARPS, maxnreg=DRAW_REGISTERS, **shape, **config,
            )  # fmt: skip
        return out

    return call


@triton.kernel(ops.sound, build=True, batch_invariant=True)
def sound(target: Target) -> Function:
    """One thread a row, in one launch."""
    from .kernels.sampling import sound_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        rows, vocab = logits.shape
        kept, told = (torch.empty_like(tokens) for _ in "ab")
        if rows:
            block = min(power(rows), 128)
            sound_kernel[(-(-rows // block),)](
                logits, tokens, kept, told, rows, vocab, logits.stride(0), BLOCK=block, **config
            )
        return kept, told

    return call


def cutoffs(
    logits: Tensor, wanted: tuple[Tensor, Tensor, Tensor], min_p: Tensor, shape: dict[str, int], config: dict[str, Any]
) -> Tensor:
    """The least scaled logit that each row keeps, [rows] fp32.

    All blocks of a row together find the band of values where the cut-off lies and list what is in it; then one program
    a row searches the list.
    """
    from .kernels.cutoff import bands_kernel, cutoff_kernel, gather_kernel, maxima_kernel

    rows, vocab = logits.shape
    blocks = rows, shape["BLOCKS"]
    grid = rows, min(shape["BLOCKS"], max(PROGRAMS // rows, 1))
    maxima, cutoff, listed = (logits.new_empty(*size) for size in (blocks, (rows,), (rows, vocab)))
    counts, masses = (logits.new_empty(*blocks, BANDS) for _ in "ab")
    maxima_kernel[grid](logits, *wanted, min_p, maxima, vocab, logits.stride(0), num_warps=4, **shape, **config)
    bands = (*wanted, maxima, counts, masses)
    parts = {"WIDE": min(shape["BLOCK"], 1024), "SUB": min(shape["BLOCK"], 128), "STAGES": 4}
    if INTERPRETED:
        parts |= dict.fromkeys(("WIDE", "SUB"), min(shape["BLOCK"], 4096))
    bands_kernel[grid](logits, *bands, vocab, logits.stride(0), WAYS=BANDS, num_warps=4, **parts, **shape, **config)
    gather_kernel[grid](logits, *bands, listed, vocab, logits.stride(0), WAYS=BANDS, num_warps=4, **shape, **config)
    cutoff_kernel[(rows,)](
        *wanted, min_p, *bands[3:], listed, cutoff, vocab, BLOCKS=shape["BLOCKS"], BP=shape["BP"], WAYS=BANDS,
        LIST=1024, num_warps=8, **config,
    )  # fmt: skip
    return cutoff
