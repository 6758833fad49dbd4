"""Kernels whose rows depend on how many there are, made to give each row what it gets alone (`Target.invariant`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import PackedWeight, Target, Weight

from .library import library

Call = Callable[..., Any]


def alone(target: Target, weight: Weight, call: Call, rows: tuple[int, ...]) -> Call:
    """The call, made once for each row of its arguments numbered `rows`, where the target asks and the kernel needs it.

    Products of 16-bit integers add up in one order however many rows there are; those of floats do not.
    """
    exact = isinstance(weight, PackedWeight) and target.dtype is torch.bfloat16 and library().ri_has_integers()
    return call if exact or not target.invariant else by_row(call, rows)


def by_row(call: Call, rows: tuple[int, ...]) -> Call:
    """The call, made once for each row."""

    def each(*flow: Tensor) -> Any:
        count = len(flow[rows[0]])
        if count < 2:
            return call(*flow)
        found = [call(*(a[r : r + 1] if i in rows else a for i, a in enumerate(flow))) for r in range(count)]
        if isinstance(found[0], Tensor):
            return torch.cat(found)
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    return each


def single_rows(call: Call) -> Call:
    """Attention, each row of a prompt as a sequence of its own: the kernel for single rows is one for any number."""

    def each(q: Tensor, k_cache: Tensor, v_cache: Tensor, query_starts: Tensor, lengths: Tensor, pages: Tensor) -> Any:
        total, sequences = len(q), len(lengths)
        if total == sequences:
            return call(q, k_cache, v_cache, query_starts, lengths, pages)
        starts = query_starts.long()
        owners = torch.repeat_interleave(torch.arange(sequences), starts.diff())
        seen = lengths[owners] - (starts[1:][owners] - 1 - torch.arange(total)).to(lengths.dtype)
        ones = torch.arange(total + 1, dtype=query_starts.dtype)
        return call(q, k_cache, v_cache, ones, seen, pages[owners])

    return each
