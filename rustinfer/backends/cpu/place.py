"""Where the next token of each decoding sequence goes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.ops.place import Places
from rustinfer.registry import Target

from .backend import cpu
from .library import library


@cpu.kernel(ops.advance, build=True, batch_invariant=True)
def advance(target: Target, *, page_size: int) -> Callable[[Tensor, Tensor, Tensor], Places]:
    """One call for a few integers a row: a dozen of torch's took as long as a layer of a small model."""
    run, empty = library().ri_advance, torch.empty

    def call(newest: Tensor, begin: Tensor, pages: Tensor) -> Places:
        rows = len(newest)
        positions, slots, drawing = empty((3, rows), dtype=torch.int64).unbind()
        lengths = empty(rows, dtype=torch.int32)
        run(
            newest.data_ptr(), newest.stride(0), begin.data_ptr(), begin.stride(0),
            pages.data_ptr(), *pages.stride(), rows, page_size,
            positions.data_ptr(), slots.data_ptr(), lengths.data_ptr(), drawing.data_ptr(),
        )  # fmt: skip
        return positions, slots, lengths, drawing

    return call
