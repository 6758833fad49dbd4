"""Causal attention over the paged cache."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_double, c_long

from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .alone import single_rows
from .backend import cpu
from .cache import Pages
from .library import library
from .plan import DTYPES
from .rows import rows


class Shape(ctypes.Structure):
    """`Shape` of kernels/attention.cpp."""

    _fields_ = [("dtype", c_long), ("window", c_long), ("alone", c_long), ("scale", c_double)]


@cpu.kernel(ops.attention, build=True, batch_invariant=True)
def attention(
    target: Target, *, scale: float, window: int = 0, heads: int = 0, kv_heads: int = 0, dim: int = 0
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Scores exist for 64 positions at a time; single rows share long contexts among the threads."""
    frozen = Shape(DTYPES[target.dtype], window, target.invariant, scale)
    run, address, page = library().ri_attention, ctypes.addressof(frozen), Pages()

    def call(
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        query_starts: Tensor,
        lengths: Tensor,
        pages: Tensor,
        keep: Shape = frozen,
    ) -> Tensor:
        q, pages, query_starts, lengths = rows(q), rows(pages), query_starts.contiguous(), lengths.contiguous()
        count, heads, dim = q.shape
        row, head, _ = q.stride()
        keys, values, size = page(k_cache, v_cache)
        out = q.new_empty(count, heads, dim)
        run(
            address, q.data_ptr(), row, head, keys, values,
            query_starts.data_ptr(), lengths.data_ptr(), pages.data_ptr(), pages.stride(0),
            count, pages.shape[0], heads, k_cache.shape[1], dim, size, out.data_ptr(),
        )  # fmt: skip
        return out

    return single_rows(call) if target.invariant else call
