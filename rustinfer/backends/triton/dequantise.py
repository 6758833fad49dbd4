"""Packed weights made dense in scratch that all of them share, for products by a library."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...registry import PackedWeight, Target
from .launch import pdl, power
from .matrix import Matrix


def dequantiser(target: Target, weight: PackedWeight) -> Callable[[], Tensor]:
    """A function that gives the weight as a dense matrix of its dtype, until the next weight is made dense."""
    from .kernels.embedding import dequantise_kernel

    matrix = Matrix.of(weight)
    block = min(power(matrix.columns), 4096)
    grid = (matrix.rows, -(-matrix.columns // block))
    config = {"FORMAT": matrix.format, "GROUP": matrix.group, "ZEROS": matrix.has_zeros, "BLOCK": block, **pdl(target)}

    def call() -> Tensor:
        out = target.workspace.scratch(weight.device, "dense", matrix.rows * matrix.columns, weight.dtype)
        out = out.view(matrix.rows, matrix.columns)
        dequantise_kernel[grid](*matrix.parts, out, WIDTH=matrix.columns, num_warps=4, **config)
        return out

    return call
