"""Whether a row's results depend on the other rows of a call, as a kernel that claims otherwise is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case, Kernel, Target
from rustinfer.registry.op import Function

from .judge import NonconformingError, outputs
from .values import bits, copied

ALONE = 24
"""Rows of a case that are tried one by one; of a longer one some together."""


def check_rows(kernel: Kernel, case: Case, target: Target) -> None:
    """Raise NonconformingError where a call for all rows and calls for some of them differ in a bit."""
    op, asked = kernel.op, replace(target, invariant=True)
    count = len(case.flow[op.flow.index(op.rows[0])]) if op.rows else 0
    bound = op.complete(case.bound)
    if count < 2 or kernel.refusal(asked, bound):
        return
    call = kernel.build(asked, **copied(bound))
    together, parted = copied(case.flow), copied(case.flow)
    whole = outputs(op, call(*together), together)
    pieces = outputs(op, in_parts(call, parted, [op.flow.index(name) for name in op.rows], count), parted)
    for name, value in whole.items():
        if bits(value) != bits(pieces[name]):
            raise NonconformingError(f"{name} depends on how many rows a call has, which the kernel claims it does not")


def in_parts(call: Function, flow: tuple[Any, ...], rows: list[int], count: int) -> Any:
    """What calls for consecutive rows return, put together."""
    found = [
        call(*(argument[part] if i in rows else argument for i, argument in enumerate(flow))) for part in parts(count)
    ]
    if isinstance(found[0], Tensor):
        return torch.cat(found)
    return None if found[0] is None else tuple(torch.cat(each) for each in zip(*found, strict=True))


def parts(count: int) -> Iterator[slice]:
    """One row at a time, or runs of different lengths where there are many."""
    start, size = 0, 1
    while start < count:
        yield slice(start, start + size)
        start, size = start + size, 1 if count <= ALONE else size * 2 + 1
