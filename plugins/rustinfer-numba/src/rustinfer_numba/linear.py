"""Products of few rows with weights that stay packed: each weight is read once, at four or eight bits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rustinfer import Requires, Target, ops
from rustinfer.registry import INT4, INT8, PackedWeight, Weight, shared

from .arrays import Array, array, floats
from .backend import DTYPES, numba

# The decode steps of an engine with its usual number of sequences. Beyond, a product that unpacks the weight once wins.
FEW = Requires("cpu", DTYPES, max_rows=64)


def refusal(bound: Mapping[str, Any]) -> str | None:
    """Only packed weights of the two formats are read."""
    weight = bound["weight"]
    if not isinstance(weight, PackedWeight):
        return "reads packed weights only, and this one is dense: torch's own product is as fast"
    return None if weight.format in (INT4, INT8) else f"reads int4 and int8 weights, not {weight.format.name}"


@cache
def _loop(dtype: torch.dtype, int4: bool, threads: int) -> Any:
    from numba import prange

    from .jit import codec, compiled

    stored, _, write = codec(dtype)
    data = "uint8" if int4 else "int8"
    matrix, groups = "float32[:, ::1]", f"{data}[:, :, ::1]"

    @compiled(f"void({groups}, {matrix}, {matrix}, int64, {matrix})")
    def unpack(weight: Any, scales: Any, zeros: Any, n: Any, row: Any) -> None:
        width = weight.shape[2]
        for g in range(len(row)):
            scale, zero = scales[n, g], zeros[n, g]
            for j in range(width):
                row[g, j] = np.float32(weight[n, g, j] & 15 if int4 else weight[n, g, j]) * scale + zero
            if int4:
                for j in range(width):
                    row[g, width + j] = np.float32(weight[n, g, j] >> 4) * scale + zero

    @compiled(f"float32({matrix}, int64, float32[::1])")
    def dot(x: Any, t: Any, row: Any) -> Any:
        total = np.float32(0)
        for j in range(len(row)):
            total += x[t, j] * row[j]
        return total

    signature = f"void({matrix}, {groups}, {matrix}, {matrix}, float32[::1], {stored}[:, ::1])"

    @compiled(signature, parallel=threads > 1)
    def loop(x: Any, weight: Any, scales: Any, zeros: Any, bias: Any, out: Any) -> None:
        for part in prange(threads):
            row = np.empty((scales.shape[1], x.shape[1] // scales.shape[1]), np.float32)
            for n in range(part * len(weight) // threads, (part + 1) * len(weight) // threads):
                unpack(weight, scales, zeros, n, row)
                for t in range(len(x)):
                    out[t, n] = write(dot(x, t, row.ravel()) + bias[n])

    return loop


def _scales(weight: PackedWeight) -> tuple[Array, Array]:
    zeros = torch.zeros(1) if weight.zeros is None else weight.zeros
    return floats(weight.scales), floats(zeros.expand_as(weight.scales))


def _product(dtype: torch.dtype, weight: PackedWeight, bias: Tensor | None) -> Any:
    from .jit import threads

    loop = _loop(dtype, weight.format is INT4, threads())
    scales, zeros = shared(weight, "numba scales", lambda: _scales(weight))
    data = array(weight.data.contiguous().view(*scales.shape, -1))
    offsets = floats(torch.zeros(weight.shape[0]) if bias is None else bias)

    def call(x: Tensor) -> Tensor:
        out = torch.empty(len(x), len(data), dtype=dtype)
        loop(floats(x), data, scales, zeros, offsets, array(out))
        return out

    return call


@numba.kernel(ops.linear, requires=FEW, when=refusal, build=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Any:
    """Unpack one row of the weight at a time, into the first-level cache, and multiply all rows of x by it."""
    assert isinstance(weight, PackedWeight)  # `refusal` saw to it
    return _product(target.dtype, weight, bias)


@numba.kernel(ops.lm_head, requires=FEW, when=refusal, build=True)
def lm_head(target: Target, *, weight: Weight) -> Any:
    """The same product, of the selected rows, with results in float32."""
    assert isinstance(weight, PackedWeight)  # `refusal` saw to it
    product = _product(torch.float32, weight, None)
    return lambda hidden, rows: product(hidden[rows])
