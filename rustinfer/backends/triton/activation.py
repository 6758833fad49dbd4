"""Gated activations."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import flat, pdl, power


def gate(target: Target, gelu: bool) -> Function:
    """act(first half) * second half, a block of one row's columns a program."""
    from .kernels.activation import gate_mul_kernel

    config = {"GELU": gelu, "num_warps": 4, **pdl(target)}

    def call(x: Tensor) -> Tensor:
        rows, width = flat(x), x.shape[-1] // 2
        out = torch.empty((*x.shape[:-1], width), dtype=x.dtype, device=x.device)
        block = min(power(width), 1024)
        if out.numel():
            grid = (len(rows), -(-width // block))
            gate_mul_kernel[grid](rows, out, rows.stride(0), WIDTH=width, BLOCK=block, **config)
        return out

    return call


@triton.kernel(ops.silu_mul, build=True, batch_invariant=True)
def silu_mul(target: Target) -> Function:
    """SiLU gate."""
    return gate(target, gelu=False)


@triton.kernel(ops.gelu_mul, build=True, batch_invariant=True)
def gelu_mul(target: Target) -> Function:
    """GELU gate, tanh form."""
    return gate(target, gelu=True)
