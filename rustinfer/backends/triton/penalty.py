"""Penalties for tokens that have been seen."""

from __future__ import annotations

from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import INTERPRETED, triton
from .launch import pdl, power

BLOCK = 16384 if INTERPRETED else 4096


@triton.kernel(ops.penalize, build=True, batch_invariant=True)
def penalize(target: Target, *, prompt: int) -> Function:
    """One pass over the logits and the counts of the rows that ask."""
    from .kernels.penalty import penalize_kernel

    config = {"PROMPT": prompt, "num_warps": 4, **pdl(target)}

    def call(
        logits: Tensor,
        rows: Tensor,
        counts: Tensor,
        lanes: Tensor,
        presence: Tensor,
        frequency: Tensor,
        repetition: Tensor,
    ) -> None:
        vocab, block = logits.shape[1], min(power(logits.shape[1]), BLOCK)
        if len(rows):
            flow = [t.contiguous() for t in (rows, lanes, presence, frequency, repetition)]
            strides = logits.stride(0), counts.stride(0)
            penalize_kernel[(len(rows), -(-vocab // block))](
                logits, counts, *flow, vocab, *strides, BLOCK=block, **config
            )

    return call
