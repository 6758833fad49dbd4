"""Writing keys and values into the paged cache."""

from __future__ import annotations

from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import pdl, power


@triton.kernel(ops.write_kv, build=True, batch_invariant=True)
def write_kv(target: Target) -> Function:
    """One program a row."""
    from .kernels.cache import write_kv_kernel

    config = {"num_warps": 4, **pdl(target)}

    def call(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        rows, heads, dim = k.shape
        if k.numel():
            strides = *k.stride()[:2], *v.stride()[:2], *k_cache.stride()[:3]
            shape = {"HEADS": heads, "DIM": dim, "PAGE": k_cache.shape[2], "BH": power(heads), "BD": power(dim)}
            write_kv_kernel[(rows,)](k, v, k_cache, v_cache, slots, *strides, **shape, **config)

    return call
