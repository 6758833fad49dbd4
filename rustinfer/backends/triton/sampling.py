"""Choosing the next token."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import INTERPRETED, triton
from .launch import counters, pdl, power, scratch

BLOCK = 16384 if INTERPRETED else 4096


def stages(vocab: int, rows: int, device: torch.device) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, int]]:
    """Scratch for each row's block winners (values, indices, arrival counters), and the constants of the blocks."""
    block = min(power(vocab), BLOCK)
    count = -(-vocab // block)
    best, at = scratch(device, rows * count, "winners"), scratch(device, rows * count, "indices").view(torch.int32)
    return (best, at, counters(device, rows)), {"BLOCK": block, "BLOCKS": count, "BP": power(count)}


@triton.kernel(ops.argmax, build=True)
def argmax(target: Target) -> Function:
    """Blocks of each row, then the blocks' winners, in one launch."""
    from .kernels.sampling import argmax_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(logits: Tensor) -> Tensor:
        rows, vocab = logits.shape
        out = torch.empty(rows, dtype=torch.int64, device=logits.device)
        if rows:
            space, shape = stages(vocab, rows, logits.device)
            argmax_kernel[(rows, shape["BLOCKS"])](logits, *space, out, vocab, logits.stride(0), **shape, **config)
        return out

    return call


@triton.kernel(ops.sample, build=True)
def sample(target: Target) -> Function:
    """The rows' cut-offs, found without sorting; then a noisy argmax. Rows that restrict nothing skip the search."""
    from .kernels.sampling import cutoff_kernel, draw_kernel

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
            cutoff = torch.empty(rows, dtype=torch.float32, device=logits.device)
            cutoff_kernel[(rows,)](
                logits, temperature, top_k, top_p, min_p, cutoff, vocab, logits.stride(0),
                BLOCK=min(power(vocab), BLOCK), num_warps=8, **config,
            )  # fmt: skip
            space, shape = stages(vocab, rows, logits.device)
            draw_kernel[(rows, shape["BLOCKS"])](
                logits, temperature, cutoff, seeds, positions, *space, out, vocab, logits.stride(0),
                num_warps=4, **shape, **config,
            )  # fmt: skip
        return out

    return call
