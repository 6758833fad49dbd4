"""Penalties for tokens that have been seen."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import pdl, power

SEEN = 1 << 32  # what a token of the prompt adds to a count: no output is as long
BLOCK = 1024


@triton.kernel(ops.penalize, build=True)
def penalize(target: Target) -> Function:
    """Integer counts by atomics, which come out the same in any order; then one pass over the logits."""
    from .kernels.penalty import occurrences_kernel, penalize_kernel

    config = {"SEEN": SEEN, "num_warps": 4, **pdl(target)}

    def call(
        logits: Tensor, prompt: Tensor, output: Tensor, presence: Tensor, frequency: Tensor, repetition: Tensor
    ) -> Tensor:
        rows, vocab = logits.shape
        out = torch.empty((rows, vocab), dtype=torch.float32, device=logits.device)
        if not out.numel():
            return out
        prompt, output = prompt.contiguous(), output.contiguous()
        counts = torch.zeros((rows, vocab), dtype=torch.int64, device=logits.device)
        longest = max(prompt.shape[1], output.shape[1])
        if longest:
            occurrences_kernel[(rows, -(-longest // BLOCK))](
                prompt, output, counts, prompt.shape[1], output.shape[1], vocab, BLOCK=BLOCK, **config
            )
        block = min(power(vocab), 4096)
        penalize_kernel[(rows, -(-vocab // block))](
            logits, counts, presence, frequency, repetition, out, vocab, logits.stride(0), BLOCK=block, **config
        )
        return out

    return call
