"""Choosing the next token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .rows import rows

Sample = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@cpu.kernel(ops.argmax, build=True, batch_invariant=True)
def argmax(target: Target) -> Callable[[Tensor], Tensor]:
    """One pass over each row."""
    run, empty = library().ri_argmax, torch.empty

    def call(logits: Tensor) -> Tensor:
        logits = rows(logits)
        out = empty(logits.shape[0], dtype=torch.int64)
        run(logits.data_ptr(), logits.stride(0), logits.shape[0], logits.shape[1], out.data_ptr())
        return out

    return call


@cpu.kernel(ops.sample, build=True, batch_invariant=True)
def sample(target: Target) -> Sample:
    """Noise is drawn only where it could win, and sorted is only the part of a row that top-k or top-p may keep."""
    run, empty = library().ri_sample, torch.empty

    def call(
        logits: Tensor,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
        min_p: Tensor,
        seeds: Tensor,
        positions: Tensor,
    ) -> Tensor:
        logits = rows(logits)
        parameters = [t.contiguous() for t in (temperature, top_k, top_p, min_p, seeds, positions)]
        out = empty(logits.shape[0], dtype=torch.int64)
        pointers = (t.data_ptr() for t in parameters)
        run(logits.data_ptr(), logits.stride(0), logits.shape[0], logits.shape[1], *pointers, out.data_ptr())
        return out

    return call
