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


@cpu.kernel(ops.write_kv, build=True, batch_invariant=True)
def write_kv(target: Target) -> Write:
    """Copies each head's numbers to its slot; k and v may be any slices of a projection's heads."""
    run, size, pages = library().ri_write_kv, target.dtype.itemsize, Pages()

    def call(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        k, v, slots = rows(k), rows(v), slots.contiguous()
        keys, values, page_size = pages(k_cache, v_cache)
        count, heads, dim = k.shape
        run(
            k.data_ptr(), k.stride(0) * size, k.stride(1) * size,
            v.data_ptr(), v.stride(0) * size, v.stride(1) * size,
            keys, values, slots.data_ptr(), count, heads, page_size, dim * size,
        )  # fmt: skip

    return call


class Pages:
    """Addresses and page size of a pair of cache tensors, checked once: a binding sees the same pair at every call.

    Raises ValueError where one is not dense, which the kernels take for granted.
    """

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None
        self.known = (0, 0, 0)

    def __call__(self, k: Tensor, v: Tensor) -> tuple[int, int, int]:
        if k is not self.k or v is not self.v:
            for cache in (k, v):
                if not cache.is_contiguous():
                    raise ValueError(f"a cache of shape {tuple(cache.shape)} must be contiguous, not {cache.stride()}")
                # Sequences' pages lie apart: with small memory pages, each would cost an address look-up of its own.
                library().ri_large_pages(cache.data_ptr(), cache.nbytes)
            self.k, self.v, self.known = k, v, (k.data_ptr(), v.data_ptr(), k.shape[2])
        return self.known
