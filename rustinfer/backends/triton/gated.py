"""Gate and up of many rows: one product of our own, whose epilogue is the activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...registry import PackedWeight, Refusal, Target
from ...registry.op import Function
from .activation import gate
from .backend import INTERPRETED
from .launch import pdl
from .linear import library_product

ALIGNED = 8  # numbers of 16 bits in what TMA calls a unit
MANY = 512
"""Rows from which on this product beats a library's with the activation behind it."""
TILE = {"BM": 128, "BN": 128, "BK": 64, "num_warps": 8, "num_stages": 3}
"""Rows, outputs and columns of a tile, warps and stages."""


def at_once(x: Tensor) -> int:
    """How many programs run at once that need a multiprocessor each; interpreted, a few."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 3


def gateable(bound: Mapping[str, Any]) -> Refusal:
    """Why this product cannot serve a binding for many rows, or None."""
    weight, target = bound["weight"], bound["target"]
    if isinstance(weight, PackedWeight):
        return "with many rows reads dense weights only"
    if target.rows is not None and target.rows < MANY:
        return f"with more than a few rows pays from {MANY} on"
    if not INTERPRETED and (target.sm or (0, 0)) < (9, 0):
        return "with many rows needs compute capability 9.0 or newer"
    if weight.dtype.itemsize != 2 or weight.shape[1] % ALIGNED or weight.shape[0] % (2 * ALIGNED):
        return f"with many rows needs 16-bit weights, and both widths multiples of {ALIGNED}"
    return None


def gated(target: Target, weight: Tensor) -> Function:
    """[T, width] -> [T, hidden]. Steps of any size share the binding, so that short prompts go to the library here."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from .kernels.gated import gated_kernel

    weight = weight.contiguous()
    product, activate = library_product(target, weight, None), gate(target, gelu=False)
    hidden, columns = weight.shape[0] // 2, weight.shape[1]
    config = {"HIDDEN": hidden, "K": columns, "TOGETHER": 8, **TILE, **pdl(target)}
    described = TensorDescriptor.from_tensor(weight.view(2, hidden, columns), [2, TILE["BN"], TILE["BK"]])

    def call(x: Tensor) -> Tensor:
        rows = len(x)
        if rows < MANY:
            return activate(product(x))  # type: ignore[no-any-return]
        out = torch.empty((rows, hidden), dtype=x.dtype, device=x.device)
        x = x if x.stride(1) == 1 and x.stride(0) % ALIGNED == 0 and x.data_ptr() % 16 == 0 else x.contiguous()
        tiles = -(-rows // TILE["BM"]) * -(-hidden // TILE["BN"])
        gated_kernel[(min(tiles, at_once(x)),)](
            TensorDescriptor.from_tensor(x, [TILE["BM"], TILE["BK"]]), described,
            TensorDescriptor.from_tensor(out, [TILE["BM"], TILE["BN"]]), rows, tiles, **config,
        )  # fmt: skip
        return out

    return call
