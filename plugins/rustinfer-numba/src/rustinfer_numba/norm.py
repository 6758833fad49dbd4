"""Root-mean-square normalisation: two passes over a row that stays in the first-level cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rustinfer import Target, ops

from .arrays import array, floats, rows
from .backend import numba


@cache
def _loops(dtype: torch.dtype) -> tuple[Any, Any]:
    from .jit import codec, compiled

    stored, read, write = codec(dtype)

    @compiled(f"void({stored}[::1], float32[::1], float32, {stored}[::1])")
    def normalise(x: Any, weight: Any, eps: Any, out: Any) -> None:
        total = np.float32(0)
        for j in range(len(x)):
            total += read(x[j]) * read(x[j])
        scale = np.float32(1) / np.sqrt(total / np.float32(len(x)) + eps)
        for j in range(len(x)):
            out[j] = write(read(x[j]) * scale * weight[j])

    @compiled(f"void({stored}[:, ::1], float32[::1], float32, {stored}[:, ::1])")
    def norm(x: Any, weight: Any, eps: Any, out: Any) -> None:
        for t in range(len(x)):
            normalise(x[t], weight, eps, out[t])

    @compiled(f"void({stored}[:, ::1], {stored}[:, ::1], float32[::1], float32, {stored}[:, ::1], {stored}[:, ::1])")
    def add_norm(x: Any, residual: Any, weight: Any, eps: Any, out: Any, total: Any) -> None:
        for t in range(len(x)):
            for j in range(x.shape[1]):
                total[t, j] = write(read(x[t, j]) + read(residual[t, j]))
            normalise(total[t], weight, eps, out[t])

    return norm, add_norm


@numba.kernel(ops.rms_norm, build=True)
def rms_norm(target: Target, *, weight: Tensor, eps: float) -> Any:
    """Normalise row by row; the weight is widened once."""
    loop, scales = _loops(target.dtype)[0], floats(weight)

    def call(x: Tensor) -> Tensor:
        out = torch.empty(x.shape, dtype=x.dtype)
        loop(rows(x), scales, eps, array(out.view(-1, x.shape[-1])))
        return out

    return call


@numba.kernel(ops.add_rms_norm, build=True)
def add_rms_norm(target: Target, *, weight: Tensor, eps: float) -> Any:
    """Add and normalise in one visit to each row."""
    loop, scales = _loops(target.dtype)[1], floats(weight)

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        out, total = torch.empty(x.shape, dtype=x.dtype), torch.empty(x.shape, dtype=x.dtype)
        loop(rows(x), rows(residual), scales, eps, rows(out), rows(total))
        return out, total

    return call
