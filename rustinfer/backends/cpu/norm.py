"""Root-mean-square norms."""

from __future__ import annotations

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target
from rustinfer.registry.op import Function

from .backend import cpu
from .library import library
from .plan import DTYPES


def norm(target: Target, weight: Tensor, eps: float) -> Function:
    """(x, residual) -> (normalised, x + residual); without a residual there is no sum."""
    weight = weight.to(target.dtype).contiguous()
    run, code, empty_like = library().ri_norm, DTYPES[target.dtype], torch.empty_like
    scale, width = weight.data_ptr(), weight.shape[0]

    def call(x: Tensor, residual: Tensor | None, keep: Tensor = weight) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous()
        out, total, added, sums = empty_like(x), None, None, None
        if residual is not None:
            residual, total = residual.contiguous(), empty_like(x)
            added, sums = residual.data_ptr(), total.data_ptr()
        run(code, x.data_ptr(), added, sums, scale, eps, x.numel() // width, width, out.data_ptr())
        return out, total

    return call


@cpu.kernel(ops.rms_norm, build=True, batch_invariant=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """One pass over each row, in fp32 throughout."""
    call = norm(target, weight, eps)
    return lambda x: call(x, None)[0]


@cpu.kernel(ops.add_rms_norm, build=True, batch_invariant=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Function:
    """The sum is rounded to the activations' dtype, as it is kept, and normalised from there in fp32."""
    return norm(target, weight, eps)
