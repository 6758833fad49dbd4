"""Forbidden tokens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library


@cpu.kernel(ops.mask_logits, build=True, batch_invariant=True)
def mask_logits(target: Target) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Whole words of allowed tokens are passed over; only forbidden logits are written."""
    run = library().ri_mask

    def call(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
        rows, bitmask = rows.contiguous(), bitmask.contiguous()
        sizes = (len(rows), logits.shape[1], bitmask.data_ptr(), bitmask.shape[1])
        run(logits.data_ptr(), logits.stride(0), rows.data_ptr(), *sizes)

    return call
