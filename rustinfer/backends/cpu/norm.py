"""Root-mean-square norms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .plan import DTYPES


@cpu.kernel(ops.rms_norm, build=True, batch_invariant=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    """One pass over each row, in fp32 throughout."""
    weight = weight.to(target.dtype).contiguous()
    run, code, empty_like = library().ri_norm, DTYPES[target.dtype], torch.empty_like
    scale, width = weight.data_ptr(), weight.shape[0]

    def call(x: Tensor, keep: Tensor = weight) -> Tensor:
        x = x.contiguous()
        out = empty_like(x)
        run(code, x.data_ptr(), None, None, scale, eps, x.numel() // width, width, out.data_ptr())
        return out

    return call


@cpu.kernel(ops.add_rms_norm, build=True, batch_invariant=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The sum is rounded to the activations' dtype, as it is kept, and normalised from there in fp32."""
    weight = weight.to(target.dtype).contiguous()
    run, code, empty_like = library().ri_norm, DTYPES[target.dtype], torch.empty_like
    scale, width = weight.data_ptr(), weight.shape[0]

    def call(x: Tensor, residual: Tensor, keep: Tensor = weight) -> tuple[Tensor, Tensor]:
        x, residual = x.contiguous(), residual.contiguous()
        out, total = empty_like(x), empty_like(x)
        count, sums = x.numel() // width, total.data_ptr()
        run(code, x.data_ptr(), residual.data_ptr(), sums, scale, eps, count, width, out.data_ptr())
        return out, total

    return call
