"""Conformance cases of several tokens in a row, and wrong versions of them.

Tokens are compared exactly, so no case may hold a near tie: a test of the op checks that each draw is clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from rustinfer.registry import Case

from .decode_cases import Stack
from .decode_tokens import decode_tokens
from .inputs import Draw
from .mutants import wrong

HOT = 3.0
"""A temperature at which noise has a say: logits are of magnitude 10."""


def run(d: Draw, stack: Stack, count: int, *, hot: tuple[int, ...] = (), stop: int = 0) -> Case:
    """So many tokens of sequences that have the stack's lengths after the first; those of `hot` are drawn at random."""
    tokens, _, _, _, lengths, pages, caches = stack.flow(d)
    decoder = stack.weights(d)["decoder"]
    decoder["head"] = decoder["head"] * 10
    newest = lengths.long() - 2 * (lengths > 0) - (lengths == 0).long()
    begin = (newest * 0.6).long().clamp(min=0)
    temperature = torch.zeros(len(tokens), device=d.device)
    temperature[list(hot)] = HOT
    seeds = d.integers(len(tokens), below=1 << 62)
    told = torch.full((count, len(tokens)), -9, device=d.device)
    flow = (tokens, newest, begin, temperature, seeds, pages, told, torch.tensor([stop], device=d.device), caches)
    return Case(d.name, flow, {"decoder": decoder, "page_size": stack.size}, decode=bool(stack.lengths))


@decode_tokens.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    yield run(draw("one row, greedy"), Stack((40,)), 4)
    yield run(draw("a page's end on the way"), Stack((15, 30)), 4, hot=(1,))
    yield run(draw("three rows, one is padding"), Stack((33, 0, 17), 96, 160, 4, 4, 128, 1), 3, hot=(0,))
    yield run(draw("all at random"), Stack((150, 90), 128, 64, 8, 2, 64, 2), 2, hot=(0, 1))
    yield run(draw("stopped"), Stack((20, 9)), 4, stop=1)
    yield run(draw("more than one launch"), Stack((70, 3, 20)), 6, hot=(0,))
    yield run(draw("no rows"), Stack(()), 2)


def changed(name: str, **changes: Any) -> None:
    """Register as a mutant what the op makes of other arguments."""
    wrong(decode_tokens, name)(lambda a: {key: change(a[key]) for key, change in changes.items()})


changed("never at random", temperature=torch.zeros_like)
changed("one seed for all", seeds=torch.zeros_like)
changed("draws numbered from the prompt's beginning", begin=torch.zeros_like)
changed("no heed of the stop", stop=torch.zeros_like)
changed("one position too far", newest=lambda newest: newest + 1)
changed("first sequence's pages for all", pages=lambda pages: pages[:1].expand_as(pages))
