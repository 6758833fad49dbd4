"""What a binding hands to the C++ kernels: the matrix, repacked once, and the frozen arguments."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextvars import ContextVar
from ctypes import c_double, c_long, c_void_p
from typing import Any, Unpack

import torch
from torch import Tensor

from rustinfer.ops.fused import Projection
from rustinfer.registry import INT4, INT8, PackedWeight, Weight, shared

from .arena import arena
from .library import library

DTYPES = {torch.float32: 0, torch.bfloat16: 1}
KINDS = {torch.float32: 0, torch.bfloat16: 1, INT4: 4, INT8: 8}
BLOCK = 32
EIGHT = ContextVar("EIGHT", default=False)
"""Whether the plans made meanwhile round activations to 8 bits."""


class Matrix(ctypes.Structure):
    """`Matrix` of kernels/matrix.h."""

    _fields_ = [
        *((name, c_long) for name in ("kind", "rows", "columns", "stride", "zeros", "wide")),
        ("data", c_void_p),
    ]


class Plan(ctypes.Structure):
    """`Plan` of kernels/plan.h."""

    _fields_ = [
        ("w", Matrix),
        ("dtype", c_long),
        ("eight", c_long),
        ("bias", c_void_p),
        ("norm", c_void_p),
        ("eps", c_double),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("heads", c_long),
        ("kv_heads", c_long),
        ("dim", c_long),
    ]


class Pinned:
    """A Plan and the tensors it points into: it must outlive every call."""

    def __init__(self, dtype: torch.dtype, weight: Weight, eps: float = 0.0, **tensors: Tensor | None) -> None:
        matrix, storage = shared(weight, "cpu strips", lambda: arranged(weight))
        if (norm := tensors.get("norm")) is not None:
            tensors["norm"] = norm.to(dtype)
        held = {name: None if t is None else t.contiguous() for name, t in tensors.items()}
        self.keep = (storage, held, weight)
        self.plan = Plan(w=matrix, dtype=DTYPES[dtype], eight=EIGHT.get(), eps=eps)
        for name, tensor in held.items():
            setattr(self.plan, name, None if tensor is None else tensor.data_ptr())
        self.address = ctypes.addressof(self.plan)


def projected(dtype: torch.dtype, norm: Tensor | None, eps: float, **bound: Unpack[Projection]) -> Pinned:
    """The plan of a joint projection to queries, keys and values, normalised before it where `norm` is given."""
    weight, heads, kv_heads = bound["weight"], bound["heads"], bound["kv_heads"]
    cos, sin = bound["cos"].float(), bound["sin"].float()
    pinned = Pinned(dtype, weight, eps, norm=norm, bias=bound["bias"], cos=cos, sin=sin)
    pinned.plan.heads, pinned.plan.kv_heads = heads, kv_heads
    pinned.plan.dim = weight.shape[0] // (heads + 2 * kv_heads)
    return pinned


def arranged(weight: Weight) -> tuple[Matrix, Tensor]:
    """The matrix as the kernels read it, and the tensor that holds its numbers."""
    if not isinstance(weight, PackedWeight):
        weight = weight if weight.stride(1) == 1 else weight.contiguous()
        kind, (rows, columns) = KINDS[weight.dtype], weight.shape
        return Matrix(kind, rows, columns, weight.stride(0), 0, 0, weight.data_ptr()), weight
    return strips(weight)


def strips(weight: PackedWeight) -> tuple[Matrix, Tensor]:
    """A packed weight in strips of 32 rows: a copy, of nearly the same size."""
    rows, columns = weight.shape
    parts = [t if t is None else t.contiguous() for t in (weight.data, weight.scales, weight.zeros)]
    wide = weight.scales.dtype == torch.float32
    matrix = Matrix(KINDS[weight.format], rows, columns, 0, weight.zeros is not None, wide, None)
    storage = arena.take(library().ri_packed_bytes(ctypes.byref(matrix)))
    matrix.data = storage.data_ptr()
    pointers = (None if t is None else t.data_ptr() for t in parts)
    library().ri_pack(ctypes.byref(matrix), *pointers, weight.group)
    return matrix, storage


def weight_refusal(weight: Weight, block: int = BLOCK) -> str | None:
    """Why the kernels cannot read a weight, or None."""
    if not isinstance(weight, PackedWeight):
        return None if weight.dtype in KINDS else f"reads float32, bfloat16, int4 and int8 weights, not {weight.dtype}"
    if weight.format not in KINDS:
        return f"reads int4 and int8 weights, not {weight.format.name}"
    if weight.group % block:
        return f"reads packed weights in groups of a multiple of {block} columns, not {weight.group}"
    if weight.scales.dtype not in (torch.float16, torch.float32):
        return f"reads scales in float16 or float32, not {weight.scales.dtype}"
    if weight.zeros is not None and weight.zeros.dtype != weight.scales.dtype:
        return "reads scales and zeros of one dtype"
    return None


def readable(bound: Mapping[str, Any]) -> str | None:
    """`when=` of the kernels with a weight."""
    return weight_refusal(bound["weight"])
