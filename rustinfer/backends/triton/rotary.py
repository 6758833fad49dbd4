"""Rotary position embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import pdl, power


@triton.kernel(ops.rope, build=True, batch_invariant=True)
def rope(target: Target, *, cos: Tensor, sin: Tensor) -> Function:
    """Both halves of a block of heads in one program."""
    from .kernels.rotary import rope_kernel

    half = cos.shape[1]
    width = power(half)
    config = {"HALF": half, "BD": width, "num_warps": 4, **pdl(target)}

    def call(x: Tensor, positions: Tensor) -> Tensor:
        rows, heads, dim = x.shape
        out = torch.empty((rows, heads, dim), dtype=x.dtype, device=x.device)
        if out.numel():
            block = min(power(heads), max(2048 // width, 1))
            grid = (rows, -(-heads // block))
            strides = x.stride(0), x.stride(1)
            rope_kernel[grid](x, positions, cos, sin, out, *strides, HEADS=heads, BH=block, **config)
        return out

    return call
