"""Matrix products with dense weights; packed ones are dequantised once and kept beside the packed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import ops
from ...registry import PackedWeight, Target, Weight, shared
from ...registry.op import Function
from .backend import cublas


def dequantised(weight: Weight) -> Tensor:
    """The weight as a dense tensor, made once however many sites and wirings use it."""
    return shared(weight, "dense", weight.dequantise) if isinstance(weight, PackedWeight) else weight


@cublas.kernel(ops.linear, build=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """torch's product, accumulated in fp32."""
    matrix = dequantised(weight)
    return lambda x: F.linear(x, matrix, bias)


@cublas.kernel(ops.lm_head, build=True)
def lm_head(target: Target, *, weight: Weight) -> Function:
    """The fp32 sums themselves: nothing is rounded to the hidden states' dtype on the way."""
    matrix = dequantised(weight).T
    if matrix.dtype == torch.float32:
        return lambda hidden, rows: hidden[rows] @ matrix
    return lambda hidden, rows: torch.mm(hidden[rows], matrix, out_dtype=torch.float32)
