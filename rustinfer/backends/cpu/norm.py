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
from .rows import flat


@cpu.kernel(ops.rms_norm, build=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    """One pass over each row, in fp32 throughout."""
    weight = weight.to(target.dtype).contiguous()
    run, code, scale, width, empty = library().ri_norm, DTYPES[target.dtype], weight.data_ptr(), weight.shape[0], torch.empty

    def call(x: Tensor, keep: Tensor = weight) -> Tensor:
        out, matrix = empty(x.shape, dtype=x.dtype), flat(x)
        count = matrix.shape[0]
        run(code, matrix.data_ptr(), matrix.stride(0), None, 0, None, scale, eps, count, width, out.data_ptr())
        return out

    return call


@cpu.kernel(ops.add_rms_norm, build=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The sum is rounded to the activations' dtype, as it is kept, and normalised from there in fp32."""
    weight = weight.to(target.dtype).contiguous()
    run, code, scale, width, empty = library().ri_norm, DTYPES[target.dtype], weight.data_ptr(), weight.shape[0], torch.empty

    def call(x: Tensor, residual: Tensor, keep: Tensor = weight) -> tuple[Tensor, Tensor]:
        out, total, a, b = empty(x.shape, dtype=x.dtype), empty(x.shape, dtype=x.dtype), flat(x), flat(residual)
        count = a.shape[0]
        run(
            code, a.data_ptr(), a.stride(0), b.data_ptr(), b.stride(0), total.data_ptr(), scale, eps,
            count, width, out.data_ptr(),
        )  # fmt: skip
        return out, total

    return call
