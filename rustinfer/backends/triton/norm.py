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


def norm(
    target: Target, weight: Tensor, eps: float, *, add: bool, shares: int = 1, bias: Tensor | None = None
) -> Function:
    """(x, residual) -> (normalised, sum), one program a row; where nothing is added there is no sum.

    In several shares x is [shares, T, width] in fp32, and lacks the bias.
    """
    from .kernels.norm import rms_norm_kernel

    block = power(weight.shape[0])
    config = {"WIDTH": weight.shape[0], "BLOCK": block, "ADD": add, "num_warps": warps(block), **pdl(target)}
    config |= {"SHARES": shares, "BIAS": bias is not None}
    added = weight if bias is None else bias

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        rows, other = x if shares > 1 else flat(x), flat(residual)
        out = torch.empty(residual.shape, dtype=residual.dtype, device=residual.device)
        total = torch.empty_like(out) if add else out
        if len(other):
            strides = rows.stride(-2), rows.stride(0), other.stride(0)
            rms_norm_kernel[(len(other),)](rows, other, weight, added, out, total, *strides, eps, **config)
        return out, total

    return call


@triton.kernel(ops.rms_norm, build=True, batch_invariant=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """One pass over each row, in fp32 throughout."""
    call = norm(target, weight, eps, add=False)
    return lambda x: call(x, x)[0]


@triton.kernel(ops.add_rms_norm, build=True, batch_invariant=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """The sum is rounded once, stored and normalised."""
    return norm(target, weight, eps, add=True)
