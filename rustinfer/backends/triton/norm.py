"""Root-mean-square normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import flat, pdl, power


def warps(block: int) -> int:
    """Enough warps to hold a row at 8 to 16 elements a thread."""
    return min(max(block // 512, 1), 16)


@triton.kernel(ops.rms_norm, build=True, batch_invariant=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """One program a row."""
    from .kernels.norm import rms_norm_kernel

    width = weight.shape[0]
    block = power(width)
    config = {"num_warps": warps(block), **pdl(target)}

    def call(x: Tensor) -> Tensor:
        rows, out = flat(x), torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if len(rows):
            rms_norm_kernel[(len(rows),)](
                rows, rows, weight, out, out, rows.stride(0), 0, eps, WIDTH=width, BLOCK=block, ADD=False, **config
            )
        return out

    return call


@triton.kernel(ops.add_rms_norm, build=True, batch_invariant=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """One program a row; the sum is rounded once, stored and normalised."""
    from .kernels.norm import rms_norm_kernel

    width = weight.shape[0]
    block = power(width)
    config = {"num_warps": warps(block), **pdl(target)}

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        rows, other = flat(x), flat(residual)
        out, total = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in "ab")
        if len(rows):
            strides = rows.stride(0), other.stride(0)
            rms_norm_kernel[(len(rows),)](
                rows, other, weight, out, total, *strides, eps, WIDTH=width, BLOCK=block, ADD=True, **config
            )
        return out, total

    return call
