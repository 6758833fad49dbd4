"""Attention of one new row per sequence over its pages, read where they lie."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rustinfer import Requires, Target, ops

from .arrays import array
from .backend import DTYPES, numba


@cache
def _loop(dtype: torch.dtype, threads: int) -> Any:
    from numba import prange

    from .jit import codec, compiled, exp

    stored, read, write = codec(dtype)
    caches = f"{stored}[:, :, :, ::1], {stored}[:, :, :, ::1]"

    rows = f"{stored}[:, :, ::1]"

    @compiled(f"void({rows}, {caches}, int32[:], int64, int64, int64, int64, int64, float32, {rows})")
    def attend(
        q: Any,
        keys: Any,
        values: Any,
        table: Any,
        row: Any,
        h: Any,
        g: Any,
        first: Any,
        last: Any,
        scale: Any,
        out: Any,
    ) -> None:
        size, width = keys.shape[2], q.shape[2]
        scores, mixed = np.empty(last - first, np.float32), np.zeros(width, np.float32)
        for p in range(first, last):
            page, at, score = table[p // size], p % size, np.float32(0)
            for d in range(width):
                score += read(q[row, h, d]) * read(keys[page, g, at, d])
            scores[p - first] = score * scale
        top, total = scores.max(), np.float32(0)
        for p in range(len(scores)):
            scores[p] = exp(scores[p] - top)
            total += scores[p]
        for p in range(first, last):
            page, at, share = table[p // size], p % size, scores[p - first] / total
            for d in range(width):
                mixed[d] += share * read(values[page, g, at, d])
        for d in range(width):
            out[row, h, d] = write(mixed[d])

    @compiled(f"void({rows}, {caches}, int32[:], int32[:], int32[:, :], float32, int64, {rows})", parallel=threads > 1)
    def loop(
        q: Any, keys: Any, values: Any, starts: Any, lengths: Any, pages: Any, scale: Any, window: Any, out: Any
    ) -> None:
        heads, work = q.shape[1], len(lengths) * q.shape[1]
        for part in prange(threads):
            for i in range(part * work // threads, (part + 1) * work // threads):
                s, h = i // heads, i % heads
                length, row = np.int64(lengths[s]), starts[s]
                if length > 0 and starts[s + 1] > row:
                    first = max(length - window, 0) if window else 0
                    attend(q, keys, values, pages[s], row, h, h * keys.shape[1] // heads, first, length, scale, out)

    return loop


@numba.kernel(ops.attention, requires=Requires("cpu", DTYPES, decode=True), build=True)
def attention(target: Target, *, scale: float, window: int = 0, heads: int = 0, kv_heads: int = 0, dim: int = 0) -> Any:
    """One head of one sequence at a time; scores of a single row are all that is held."""
    from .jit import threads

    loop = _loop(target.dtype, threads())

    def call(
        q: Tensor, k_cache: Tensor, v_cache: Tensor, query_starts: Tensor, lengths: Tensor, pages: Tensor
    ) -> Tensor:
        out = torch.zeros(q.shape, dtype=q.dtype)
        caches, table = (array(k_cache), array(v_cache)), (query_starts.numpy(), lengths.numpy(), pages.numpy())
        loop(array(q.contiguous()), *caches, *table, scale, window, array(out))
        return out

    return call
