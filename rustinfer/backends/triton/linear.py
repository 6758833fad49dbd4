"""Matrix products: of a few rows with dense weights, of any number with packed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import ops
from ...registry import PackedWeight, Refusal, Target, Weight
from ...registry.op import Function
from ..cublas.timed import timed
from . import tuning
from .backend import on, triton
from .dequantise import dequantiser
from .launch import Shares, flat
from .matrix import MOST_TOGETHER, Matrix, few, readable

TOGETHER = 16  # rows of a program where their number is not known


def grid(matrix: Matrix, rows: int, config: dict[str, int]) -> tuple[int, int, int]:
    """Blocks of activation rows, blocks of weight rows, shares of the columns."""
    return -(-rows // config["BM"]), -(-matrix.rows // config["BR"]), config["SPLITS"]


def multipliable(bound: Mapping[str, Any]) -> Refusal:
    """Packed weights for any number of rows, dense ones for a few; all for any where each row must come out alike."""
    weight, target = bound["weight"], bound["target"]
    rows = None if isinstance(weight, PackedWeight) or target.invariant else tuning.ours(weight.shape[1])
    return readable(bound) or on(rows=rows).refusal(target)


def shape(target: Target, matrix: Matrix) -> dict[str, Any]:
    """Constants of the product kernel for the target's rows; of any number, with one share of the columns."""
    if target.invariant:
        return matrix.config(target, MOST_TOGETHER, tuning.any_rows(target, matrix))
    if target.rows is None:
        return matrix.config(target, TOGETHER, tuning.choose(target, matrix, TOGETHER) | {"SPLITS": 1})
    return matrix.config(target, target.rows, tuning.choose(target, matrix, target.rows))


def library_product(target: Target, weight: Weight, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Many rows: a library's product, with a packed weight made dense in scratch first."""
    if isinstance(weight, PackedWeight):
        dense = dequantiser(target, weight)
        return lambda x: F.linear(x, dense(), bias)
    return timed(target, weight, weight.dtype, lambda x, weight: F.linear(x, weight, bias), bias)


@triton.kernel(ops.linear, build=True, when=multipliable, batch_invariant=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """A few rows read the weight as it is, once; many rows of a packed one dequantise it into scratch first."""
    if isinstance(weight, PackedWeight) and not few(target) and not target.invariant:
        product = library_product(target, weight, bias)
        return lambda x: product(flat(x))
    from .kernels.linear import linear_kernel

    matrix = Matrix.of(weight)
    config = shape(target, matrix)
    shares = Shares(target, grid(matrix, target.rows or 1, config), config)
    added = matrix.parts[0] if bias is None else bias

    def call(x: Tensor) -> Tensor:
        x = flat(x)
        out = torch.empty((len(x), matrix.rows), dtype=x.dtype, device=x.device)
        if out.numel():
            linear_kernel[grid(matrix, len(x), config)](
                x, x, *matrix.parts, added, out, *shares(out), len(x), matrix.rows, x.stride(0),
                INDEX=False, BIAS=bias is not None, **config,
            )  # fmt: skip
        return out

    return call


@triton.kernel(ops.lm_head, build=True, when=multipliable, batch_invariant=True)
def lm_head(target: Target, *, weight: Weight) -> Function:
    """Gathers its rows itself and keeps the fp32 sums. Of a packed weight any number of rows, 16 at a time."""
    from .kernels.linear import linear_kernel

    matrix = Matrix.of(weight)
    config = shape(target, matrix)
    shares = Shares(target, grid(matrix, target.rows or 1, config), config)

    def call(hidden: Tensor, rows: Tensor) -> Tensor:
        out = torch.empty((len(rows), matrix.rows), dtype=torch.float32, device=hidden.device)
        if out.numel():
            linear_kernel[grid(matrix, len(rows), config)](
                hidden, rows, *matrix.parts, matrix.parts[0], out, *shares(out), len(rows), matrix.rows,
                hidden.stride(0), INDEX=True, BIAS=False, **config,
            )  # fmt: skip
        return out

    return call
