"""Tensors from GGUF blocks: the simple 4- and 8-bit formats stay packed, all others become dense."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..registry import INT4, INT8, Format, PackedWeight, Weight
from .gguf import GgufFile, GgufTensor

PACKED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_GROUP = 32
DENSE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_AT_ONCE = 1 << 24  # elements turned to float32 in one go, which bounds the extra memory


def read_tensor(
    file: GgufFile, tensor: GgufTensor, dtype: torch.dtype, order: NDArray[np.intp] | None = None
) -> Weight:
    """A tensor in `dtype`, with its rows in another order if one is given. A packed one keeps exactly its values."""
    blocks = file.blocks(tensor)
    if tensor.type in PACKED and len(tensor.shape) == 2:
        return _packed(blocks, tensor, dtype, order)
    rows = _float(blocks, tensor, dtype)
    dense = rows.view(tensor.shape)
    return dense if order is None else dense[torch.from_numpy(order)]


def _packed(
    blocks: NDArray[np.uint8], tensor: GgufTensor, dtype: torch.dtype, order: NDArray[np.intp] | None
) -> PackedWeight:
    # The file is read once; the parts are views of this copy until each is made contiguous.
    blocks = blocks if order is None else blocks[order]
    form, data = _data(blocks, tensor.type)
    scales = _halves(blocks, 0)
    zeros = _halves(blocks, 2) if tensor.type in ("Q4_1", "Q5_1") else None
    if tensor.type == "Q4_0":
        scales, zeros = _centred(scales)
    return PackedWeight(form, data, scales, zeros, _GROUP, torch.Size(tensor.shape), dtype)


def _data(blocks: NDArray[np.uint8], kind: str) -> tuple[Format, Tensor]:
    rows = blocks.shape[0]
    if kind in ("Q4_0", "Q4_1"):  # its nibbles are already in our order
        return INT4, torch.from_numpy(np.ascontiguousarray(blocks[:, :, -16:]).reshape(rows, -1))
    if kind == "Q8_0":
        return INT8, torch.from_numpy(np.ascontiguousarray(blocks[:, :, 2:]).reshape(rows, -1).view(np.int8))
    nibbles = blocks[:, :, -16:]
    values = np.concatenate((nibbles & 15, nibbles >> 4), -1)
    values |= np.unpackbits(blocks[:, :, -20:-16], axis=-1, bitorder="little") << 4
    signed = values.reshape(rows, -1).view(np.int8)
    return INT8, torch.from_numpy(signed - np.int8(16) if kind == "Q5_0" else signed)


def _halves(blocks: NDArray[np.uint8], at: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(blocks[:, :, at : at + 2]).view(np.float16)[:, :, 0])


def _centred(scales: Tensor) -> tuple[Tensor, Tensor]:
    """Scales, and the zeros that shift 0..15 to -8..7: exact in float16 unless a scale is huge."""
    zeros = scales * -8
    return (scales, zeros) if bool(zeros.isfinite().all()) else (scales.float(), scales.float() * -8)


def _float(blocks: NDArray[np.uint8], tensor: GgufTensor, dtype: torch.dtype) -> Tensor:
    """Dense rows [rows, columns], a part of them at a time."""
    rows, columns = blocks.shape[0], tensor.shape[-1]
    flat = blocks.reshape(rows, -1)
    out = torch.empty(rows, columns, dtype=dtype)
    step = max(1, _AT_ONCE // columns)
    for at in range(0, rows, step):
        out[at : at + step] = _rows(flat[at : at + step], tensor.type)
    return out


def _rows(data: NDArray[np.uint8], kind: str) -> Tensor:
    if kind in DENSE:
        return torch.from_numpy(data.copy()).view(DENSE[kind])
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    return torch.from_numpy(dequantize(data, GGMLQuantizationType[kind]))
