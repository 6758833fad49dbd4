"""Where the next token of each decoding sequence goes, and the rows of any step."""

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


@triton.kernel(ops.place_rows, build=True, batch_invariant=True)
def place_rows(target: Target, *, page_size: int) -> Function:
    """A few integers a row, all in one launch."""
    from .kernels.place import place_rows_kernel

    config = {"PAGE": page_size, "BLOCK": BLOCK, "AT_ONCE": 16, "SPAN": 1024, "num_warps": 4, **pdl(target)}

    def call(
        tokens: Tensor, ends: Tensor, firsts: Tensor, owners: Tensor, drawn: Tensor, pages: Tensor
    ) -> tuple[Tensor, ...]:
        rows, sequences, device = len(tokens), len(ends), tokens.device
        known, positions, slots = (torch.empty(rows, dtype=torch.int64, device=device) for _ in "abc")
        starts = torch.empty(sequences + 1, dtype=torch.int32, device=device)
        lengths = torch.empty(sequences, dtype=torch.int32, device=device)
        lines = torch.empty((sequences, pages.shape[1]), dtype=torch.int32, device=device)
        blocks = max(-(-rows // BLOCK), 1)
        place_rows_kernel[(blocks + sequences,)](
            tokens, ends, firsts, owners, drawn, pages, known, positions, slots, starts, lengths, lines,
            rows, sequences, blocks, pages.stride(0), pages.shape[1], **config,
        )  # fmt: skip
        return known, positions, slots, starts, lengths, lines

    return call
