"""Writing keys and values into the paged cache."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .rows import rows

Write = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]


@cpu.kernel(ops.write_kv, build=True)
def write_kv(target: Target) -> Write:
    """Copies each head's numbers to its slot; k and v may be any slices of a projection's heads."""
    run, size = library().ri_write_kv, target.dtype.itemsize

    def call(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        k, v, slots = rows(k), rows(v), slots.contiguous()
        keys, values = paged(k_cache), paged(v_cache)
        count, heads, dim = k.shape
        run(
            k.data_ptr(), k.stride(0) * size, k.stride(1) * size,
            v.data_ptr(), v.stride(0) * size, v.stride(1) * size,
            keys, values, slots.data_ptr(), count, heads, k_cache.shape[2], dim * size,
        )  # fmt: skip

    return call


def paged(cache: Tensor) -> int:
    """The address of a cache tensor. Raises ValueError where it is not dense, which the kernels take for granted."""
    if not cache.is_contiguous():
        raise ValueError(f"a cache of shape {tuple(cache.shape)} must be contiguous, its strides are {cache.stride()}")
    return cache.data_ptr()
