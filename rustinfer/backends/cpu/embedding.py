"""Rows of a packed table."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from ctypes import c_long, c_void_p
from typing import Any

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import PackedWeight, Target, Weight

from .backend import cpu
from .library import library
from .plan import DTYPES, KINDS, weight_refusal


class Table(ctypes.Structure):
    """`Table` of kernels/small.cpp."""

    _fields_ = [
        *((name, c_long) for name in ("kind", "columns", "group", "wide")),
        *((name, c_void_p) for name in ("data", "scales", "zeros")),
    ]


def _packed(bound: Mapping[str, Any]) -> str | None:
    weight = bound["weight"]
    if not isinstance(weight, PackedWeight):
        return "reads packed tables; plain torch is as fast for dense ones"
    return weight_refusal(weight, block=2)


@cpu.kernel(ops.embedding, build=True, when=_packed, batch_invariant=True)
def embedding(target: Target, *, weight: Weight) -> Callable[[Tensor], Tensor]:
    """Reads int4 and int8 tables as they are stored."""
    assert isinstance(weight, PackedWeight)
    parts = [None if t is None else t.contiguous() for t in (weight.data, weight.scales, weight.zeros)]
    pointers = [None if t is None else t.data_ptr() for t in parts]
    wide = weight.scales.dtype == torch.float32
    table = Table(KINDS[weight.format], weight.shape[1], weight.group, wide, *pointers)
    run, address, width, dtype = library().ri_embedding, ctypes.addressof(table), weight.shape[1], weight.dtype
    code = DTYPES[dtype]

    def call(tokens: Tensor, keep: tuple[Any, ...] = (table, parts)) -> Tensor:
        tokens = tokens.contiguous()
        out = torch.empty((tokens.shape[0], width), dtype=dtype)
        run(address, code, tokens.data_ptr(), tokens.shape[0], out.data_ptr())
        return out

    return call
