"""Matrix products of a few rows with dense or packed weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target, Weight
from ...registry.op import Function
from . import tuning
from .backend import FEW_ROWS, on, triton
from .launch import flat
from .matrix import Matrix, readable


@triton.kernel(ops.linear, build=True, requires=on(rows=FEW_ROWS), when=readable)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """Reads the weight once, whatever the number of rows."""
    from .kernels.linear import linear_kernel

    matrix, rows = Matrix.of(weight), target.rows or FEW_ROWS
    config = matrix.config(target, rows, tuning.choose(target, matrix.rows, matrix.columns, rows))
    grid = (-(-matrix.rows // config["BR"]),)
    added = matrix.parts[0] if bias is None else bias

    def call(x: Tensor) -> Tensor:
        x = flat(x)
        out = torch.empty((len(x), matrix.rows), dtype=x.dtype, device=x.device)
        if out.numel():
            linear_kernel[grid](
                x, x, *matrix.parts, added, out, len(x), matrix.rows, x.stride(0),
                INDEX=False, BIAS=bias is not None, **config,
            )  # fmt: skip
        return out

    return call


@triton.kernel(ops.lm_head, build=True, requires=on(rows=FEW_ROWS), when=readable)
def lm_head(target: Target, *, weight: Weight) -> Function:
    """Gathers its rows itself and keeps the fp32 sums."""
    from .kernels.linear import linear_kernel

    matrix, most = Matrix.of(weight), target.rows or FEW_ROWS
    config = matrix.config(target, most, tuning.choose(target, matrix.rows, matrix.columns, most))
    grid = (-(-matrix.rows // config["BR"]),)

    def call(hidden: Tensor, rows: Tensor) -> Tensor:
        out = torch.empty((len(rows), matrix.rows), dtype=torch.float32, device=hidden.device)
        if out.numel():
            linear_kernel[grid](
                hidden, rows, *matrix.parts, matrix.parts[0], out, len(rows), matrix.rows, hidden.stride(0),
                INDEX=True, BIAS=False, **config,
            )  # fmt: skip
        return out

    return call
