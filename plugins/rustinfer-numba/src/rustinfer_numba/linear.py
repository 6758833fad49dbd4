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
def _loop(dtype: torch.dtype, int4: bool, group: int, threads: int) -> Any:
    from numba import prange

    from .jit import codec, compiled

    stored, _, write = codec(dtype)
    half, data = group // 2, "uint8" if int4 else "int8"

    width, matrix = half if int4 else group, "float32[:, ::1]"
    signature = f"void({matrix}, {matrix}, {data}[:, ::1], {matrix}, {matrix}, float32[::1], {stored}[:, ::1])"

    @compiled(f"float32({data}[:, ::1], int64, int64, {matrix}, int64, int64)")
    def dot(weight: Any, n: Any, w: Any, x: Any, t: Any, k: Any) -> Any:
        total = np.float32(0)
        for j in range(width):
            if int4:
                total += np.float32(weight[n, w + j] & 15) * x[t, k + j]
                total += np.float32(weight[n, w + j] >> 4) * x[t, k + half + j]
            else:
                total += np.float32(weight[n, w + j]) * x[t, k + j]
        return total

    @compiled(signature, parallel=threads > 1)
    def loop(x: Any, sums: Any, weight: Any, scales: Any, zeros: Any, bias: Any, out: Any) -> None:
        for part in prange(threads):
            for n in range(part * len(weight) // threads, (part + 1) * len(weight) // threads):
                for t in range(len(x)):
                    total = bias[n]
                    for g in range(scales.shape[1]):
                        total += dot(weight, n, g * width, x, t, g * group) * scales[n, g] + sums[t, g] * zeros[n, g]
                    out[t, n] = write(total)

    return loop


def _scales(weight: PackedWeight) -> tuple[Array, Array]:
    zeros = torch.zeros(1) if weight.zeros is None else weight.zeros
    return floats(weight.scales), floats(zeros.expand_as(weight.scales))


def _product(dtype: torch.dtype, weight: PackedWeight, bias: Tensor | None) -> Any:
    from .jit import threads

    loop = _loop(dtype, weight.format is INT4, weight.group, threads())
    scales, zeros = shared(weight, "numba scales", lambda: _scales(weight))
    data, group = array(weight.data.contiguous()), weight.group
    offsets = floats(torch.zeros(weight.shape[0]) if bias is None else bias)

    def call(x: Tensor) -> Tensor:
        x = x.float().contiguous()
        out = torch.empty(len(x), len(data), dtype=dtype)
        sums = x.view(len(x), scales.shape[1], group).sum(-1)
        loop(array(x), array(sums), data, scales, zeros, offsets, array(out))
        return out

    return call


@numba.kernel(ops.linear, requires=FEW, when=refusal, build=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Any:
    """Accumulate in float32, one group after the other."""
    assert isinstance(weight, PackedWeight)  # `refusal` saw to it
    return _product(target.dtype, weight, bias)


@numba.kernel(ops.lm_head, requires=FEW, when=refusal, build=True)
def lm_head(target: Target, *, weight: Weight) -> Any:
    """The same product, of the selected rows, with results in float32."""
    assert isinstance(weight, PackedWeight)  # `refusal` saw to it
    product = _product(torch.float32, weight, None)
    return lambda hidden, rows: product(hidden[rows])
