"""Where the next token of each decoding sequence goes."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import triton
from .launch import pdl, power

BLOCK = 128


@triton.kernel(ops.advance, build=True, batch_invariant=True)
def advance(target: Target, *, page_size: int) -> Function:
    """A few integers a row, all in one launch."""
    from .kernels.place import advance_kernel

    config = {"PAGE": page_size, "num_warps": 4, **pdl(target)}

    def call(newest: Tensor, begin: Tensor, pages: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = len(newest)
        positions, slots, drawing = (torch.empty(rows, dtype=torch.int64, device=newest.device) for _ in "abc")
        lengths = torch.empty(rows, dtype=torch.int32, device=newest.device)
        if rows:
            block = min(power(rows), BLOCK)
            advance_kernel[(-(-rows // block),)](
                newest, begin, pages, positions, slots, lengths, drawing, rows, pages.stride(0), BLOCK=block, **config
            )
        return positions, slots, lengths, drawing

    return call
