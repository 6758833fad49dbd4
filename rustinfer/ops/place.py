"""Where the next token of each decoding sequence goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw
from .mutants import Arguments, instead, spoilt, wrong
from .precision import EXACT

Places = tuple[Tensor, Tensor, Tensor, Tensor]


@op(mutates=("newest",), tolerance=EXACT)
def advance(newest: Tensor, begin: Tensor, pages: Tensor, *, page_size: int) -> Places:
    """Move every row that is in use one token on, and say where that token lies and how much it sees.

    newest: [R] int64, the position of each row's newest token in the cache, negative for a row that is not in use;
    raised by one in place where it is not. begin: [R] int64, where the row's output begins. pages: [R, P] int32.
    Returns positions [R] int64 (0 where unused), slots [R] int64 (page * page_size + offset; -1 where unused), lengths
    [R] int32 (tokens in the cache after this one; 0 where unused) and drawing [R] int64, the number, from 0, of the
    token that follows in the row's output (0 where unused).
    """
    used = newest >= 0
    newest += used
    positions = newest.clamp(min=0)
    page = pages.gather(1, (positions // page_size)[:, None])[:, 0].long()
    slots = torch.where(used, page * page_size + positions % page_size, -1)
    lengths = (newest + 1).int() * used
    drawing = (newest + 1 - begin) * used
    return positions, slots, lengths, drawing


def example(d: Draw, rows: int, width: int, page_size: int, unused: int = 0) -> Case:
    """Rows at random positions with pages in random order; the first `unused` of them take no part."""
    newest = d.integers(rows, below=width * page_size - 1)
    begin = (newest.float() * 0.7).long() + 1
    newest[:unused] = -1
    pages = (
        torch.stack([d.shuffled(4 * width)[:width] for _ in range(rows)]).int()
        if rows
        else d.integers(0, width, below=1)
    )
    return Case(d.name, (newest, begin, pages.int()), {"page_size": page_size}, decode=True)


@advance.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for rows, width, page_size in ((1, 3, 16), (7, 40, 16), (300, 5, 16), (4, 9, 1), (5, 3, 6), (0, 3, 16)):
        yield example(Draw(f"{rows} rows, {width} pages of {page_size}", dtype, device), rows, width, page_size)
    yield example(Draw("unused rows", dtype, device), 9, 4, 16, unused=4)
    yield example(Draw("all unused", dtype, device), 3, 4, 16, unused=3)
    case = example(Draw("a page's last and first token", dtype, device), 3, 4, 16)
    case.flow[0][:] = torch.tensor([0, 14, 15], device=device)
    yield case
    wide = example(Draw("a part of a wider table", dtype, device), 6, 8, 16)
    yield Case(wide.name, (wide.flow[0] // 2, wide.flow[1], wide.flow[2][:, :5]), wide.bound, decode=True)


@instead(advance, "unused rows move")
def _(a: Arguments) -> Places:
    unused = a["newest"] < 0
    found: Places = advance(**a)
    a["newest"] += unused
    return found


def but(at: int, change: Callable[[Tensor], Tensor]) -> Callable[[tuple[Tensor, ...]], Any]:
    """One of the results changed."""
    return lambda found: (*found[:at], change(found[at]), *found[at + 1 :])


spoilt(advance, "the place of the token before")(but(1, lambda slots: slots - (slots > 0).long()))
spoilt(advance, "the newest token is not seen")(but(2, lambda lengths: (lengths - 1).clamp(min=0)))
spoilt(advance, "the number of the token before")(but(3, lambda drawing: drawing - 1))
wrong(advance, "pages of 16 assumed")(lambda a: {"page_size": 16})
spoilt(advance, "slot 0 for unused rows")(but(1, lambda slots: slots.clamp(min=0)))
