"""Forbidden, biased and typical tokens."""

from __future__ import annotations

from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import INTERPRETED, triton
from .launch import pdl, power

BLOCK = 16384 if INTERPRETED else 1024
PAIRS = 256


@triton.kernel(ops.mask_logits, build=True, batch_invariant=True)
def mask_logits(target: Target) -> Function:
    """Reads the bits alone, writes forbidden logits alone."""
    from .kernels.mask import mask_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
        vocab, block = logits.shape[1], min(power(logits.shape[1]), BLOCK)
        if len(rows):
            bitmask = bitmask.contiguous()
            mask_kernel[(len(rows), -(-vocab // block))](
                logits, rows.contiguous(), bitmask, vocab, bitmask.shape[1], logits.stride(0), BLOCK=block, **config
            )

    return call


@triton.kernel(ops.bias_logits, build=True, batch_invariant=True)
def bias_logits(target: Target) -> Function:
    """One addition for each pair of row and token."""
    from .kernels.mask import bias_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(logits: Tensor, rows: Tensor, tokens: Tensor, biases: Tensor) -> None:
        count = len(rows)
        if count:
            flow = (rows.contiguous(), tokens.contiguous(), biases.contiguous())
            bias_kernel[(-(-count // PAIRS),)](logits, *flow, count, logits.stride(0), BLOCK=PAIRS, **config)

    return call


@triton.kernel(ops.keep_typical, build=True, batch_invariant=True)
def keep_typical(target: Target) -> Function:
    """Eleven passes over a row by one program; no sort."""
    from .kernels.mask import typical_kernel

    config = {"num_warps": 8, **pdl(target)}

    def call(logits: Tensor, rows: Tensor, temperature: Tensor, typical_p: Tensor) -> None:
        vocab = logits.shape[1]
        block = min(power(vocab), BLOCK)
        if len(rows):
            flow = (rows.contiguous(), temperature.contiguous(), typical_p.contiguous())
            typical_kernel[(len(rows),)](logits, *flow, vocab, logits.stride(0), BLOCK=block, **config)

    return call
