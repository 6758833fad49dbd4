"""Rotary positions, rotated straight from the table."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from rustinfer import Target, ops

from .arrays import array, floats
from .backend import numba


@cache
def _loop(dtype: torch.dtype) -> Any:
    from .jit import codec, compiled

    stored, read, write = codec(dtype)

    @compiled(f"void({stored}[:, :, ::1], int64[:], float32[:, ::1], float32[:, ::1], {stored}[:, :, ::1])")
    def loop(x: Any, positions: Any, cos: Any, sin: Any, out: Any) -> None:
        half = cos.shape[1]
        for t in range(len(x)):
            c, s = cos[positions[t]], sin[positions[t]]
            for h in range(x.shape[1]):
                for j in range(half):
                    a, b = read(x[t, h, j]), read(x[t, h, half + j])
                    out[t, h, j] = write(a * c[j] - b * s[j])
                    out[t, h, half + j] = write(b * c[j] + a * s[j])

    return loop


@numba.kernel(ops.rope, build=True)
def rope(target: Target, *, cos: Tensor, sin: Tensor) -> Any:
    """Rotate both halves of each head in one pass."""
    loop, c, s = _loop(target.dtype), floats(cos), floats(sin)

    def call(x: Tensor, positions: Tensor) -> Tensor:
        out = torch.empty(x.shape, dtype=x.dtype)
        loop(array(x.contiguous()), positions.numpy(), c, s, array(out))
        return out

    return call
