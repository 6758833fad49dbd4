"""Matrix products with dense weights; packed ones are dequantised once and kept beside the packed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import ops
from ...registry import PackedWeight, Target, Weight, shared
from ...registry.op import Function
from .backend import cublas
from .timed import timed


def dequantised(weight: Weight) -> Tensor:
    """The weight as a dense tensor, made once however many sites and wirings use it."""
    return shared(weight, "dense", weight.dequantise) if isinstance(weight, PackedWeight) else weight


@cublas.kernel(ops.linear, build=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """A library's product, accumulated in fp32."""
    matrix = dequantised(weight)
    return timed(target, matrix, matrix.dtype, lambda x, weight: F.linear(x, weight, bias), bias)


@cublas.kernel(ops.lm_head, build=True)
def lm_head(target: Target, *, weight: Weight) -> Function:
    """The fp32 sums themselves: nothing is rounded to the hidden states' dtype on the way."""
    matrix = dequantised(weight)
    turned = matrix.T
    if matrix.dtype == torch.float32:
        return lambda hidden, rows: hidden[rows] @ turned

    def product(x: Tensor, weight: Tensor) -> Tensor:
        return torch.mm(x, weight.T, out_dtype=torch.float32)

    # Of a step with prompts few rows are sampled, and never a number that is timed.
    if target.rows is None:
        return lambda hidden, rows: product(hidden[rows], matrix)
    chosen = timed(target, matrix, torch.float32, product)
    return lambda hidden, rows: chosen(hidden[rows])
