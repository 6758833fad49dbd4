"""Keys and values into their slots, row by row."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from rustinfer import Target, ops

from .arrays import array
from .backend import numba


@cache
def _loop(dtype: torch.dtype) -> Any:
    from .jit import STORAGE, compiled

    stored = STORAGE[dtype]

    @compiled(f"void({stored}[:, :, ::1], {stored}[:, :, :, ::1], int64[:])")
    def loop(rows: Any, pages: Any, slots: Any) -> None:
        size = pages.shape[2]
        for t in range(len(rows)):
            if slots[t] >= 0:
                page, at = slots[t] // size, slots[t] % size
                for g in range(rows.shape[1]):
                    for d in range(rows.shape[2]):
                        pages[page, g, at, d] = rows[t, g, d]

    return loop


@numba.kernel(ops.write_kv, build=True)
def write_kv(target: Target) -> Any:
    """Copy each row whose slot is not negative."""
    loop = _loop(target.dtype)

    def call(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        loop(array(k.contiguous()), array(k_cache), slots.numpy())
        loop(array(v.contiguous()), array(v_cache), slots.numpy())

    return call
