"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .plan import DTYPES
from .rows import rows


@cpu.kernel(ops.rope, build=True, batch_invariant=True)
def rope(target: Target, *, cos: Tensor, sin: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Heads may be any slice of a projection's: their strides are honoured."""
    table = (cos.float().contiguous(), sin.float().contiguous())
    run, code, empty = library().ri_rope, DTYPES[target.dtype], torch.empty
    cosines, sines = (t.data_ptr() for t in table)

    def call(x: Tensor, positions: Tensor, keep: tuple[Tensor, ...] = table) -> Tensor:
        x, positions = rows(x), positions.contiguous()
        count, heads, dim = x.shape
        out = empty((count, heads, dim), dtype=x.dtype)
        run(
            code, x.data_ptr(), x.stride(0), x.stride(1), positions.data_ptr(), cosines, sines,
            count, heads, dim, out.data_ptr(),
        )  # fmt: skip
        return out

    return call
