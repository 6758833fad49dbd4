"""Where the rows of a step go, whose sequences have any number of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw
from .mutants import Arguments, spoilt, wrong
from .place import but
from .precision import EXACT

Placed = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@op(tolerance=EXACT)
def place_rows(
    tokens: Tensor, ends: Tensor, firsts: Tensor, owners: Tensor, drawn: Tensor, pages: Tensor, *, page_size: int
) -> Placed:
    """Say what each row computes and where that lies, and how much each sequence sees.

    tokens: [T] int64, each row's token; a negative one stands for what `drawn` [N] int64 has at -1 - token. Of each
    sequence ends: [S] int64, the row behind its last, which never falls and is T at last; firsts: [S] int64, its first
    row's position, negative for one that is padding; owners: [S] int64, its line of pages: [N, P] int32.
    Returns tokens [T] int64, positions [T] int64 (0 in padding), slots [T] int64 (page * page_size + offset; -1 in
    padding); of each sequence starts [S + 1] int32, where its rows begin, lengths [S] int32, how many tokens it has
    with these (of padding, its rows), and its line of pages [S, P] int32.
    """
    rows = torch.arange(len(tokens), device=tokens.device)
    sequence = torch.searchsorted(ends, rows, right=True)
    starts = torch.cat((torch.zeros_like(ends[:1]), ends)) if len(ends) else ends.new_zeros(1)
    used = firsts[sequence] >= 0
    positions = torch.where(used, firsts[sequence] + rows - starts[sequence], 0)
    page = pages[owners[sequence], positions // page_size].long()
    slots = torch.where(used, page * page_size + positions % page_size, -1)
    known = torch.where(tokens < 0, drawn[(-1 - tokens).clamp(min=0)], tokens)
    lengths = firsts.clamp(min=0) + ends - starts[:-1]
    return known, positions, slots, starts.int(), lengths.int(), pages[owners]


def example(d: Draw, counts: list[int], width: int, page_size: int, padding: int = 0, lines: int = 9) -> Case:
    """Sequences of so many rows in some of the lines, the last `padding` of them padding; one token in four drawn."""
    device, used = d.device, len(counts) - padding
    ends = torch.tensor(counts, dtype=torch.int64, device=device).cumsum(0)
    room = torch.tensor([max(width * page_size - count, 0) for count in counts], dtype=torch.int64, device=device)
    firsts = (d.uniform(len(counts), dtype=torch.float64) * (room + 1)).long()
    firsts[used:] = -1
    owners = d.shuffled(lines)[: len(counts)]
    owners[used:] = 0
    tokens = d.integers(sum(counts), below=1000)
    tokens[::4] = -1 - d.integers(len(tokens[::4]), below=lines)
    pages = torch.stack([d.shuffled(4 * width)[:width] for _ in range(lines)]).int()
    flow = tokens, ends, firsts, owners, d.integers(lines, below=1000), pages
    return Case(d.name, flow, {"page_size": page_size}, decode=set(counts) == {1})


@place_rows.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for name, counts, width, page_size in (
        ("no rows", [], 3, 16), ("one row", [1], 3, 16), ("a prompt alone", [200], 20, 16),
        ("decoding and prompts", [1, 1, 1, 40, 150], 10, 16), ("pages of 1", [3, 1, 9], 12, 1),
        ("pages of 6", [7, 20], 8, 6),
    ):  # fmt: skip
        yield example(Draw(name, dtype, device), counts, width, page_size)
    yield example(Draw("padding", dtype, device), [1, 30, 17, 0, 0], 4, 16, padding=3)
    yield example(Draw("padding alone", dtype, device), [128, 0], 4, 16, padding=2)
    yield example(Draw("more sequences than a block has", dtype, device), [1] * 290 + [10], 3, 16, lines=300)
    wide = example(Draw("a part of a wider table", dtype, device), [5, 9], 8, 16)
    wide.flow[2][:] //= 2
    yield Case(wide.name, (*wide.flow[:5], wide.flow[5][:, :5]), wide.bound)


@wrong(place_rows, "positions one too high")
def _(a: Arguments) -> Arguments:
    return {"firsts": a["firsts"] + (a["firsts"] > 0)}


wrong(place_rows, "the drawn token of another line")(lambda a: {"drawn": a["drawn"].roll(1) + 1})
wrong(place_rows, "pages of 16 assumed")(lambda a: {"page_size": 16})
wrong(place_rows, "lines of other sequences")(lambda a: {"pages": a["pages"].roll(1, 0) + 1})
spoilt(place_rows, "slot 0 in padding")(but(2, lambda slots: slots.clamp(min=0)))
spoilt(place_rows, "the newest token is not seen")(but(4, lambda lengths: (lengths - 1).clamp(min=0)))
spoilt(place_rows, "the first sequence begins late")(but(3, lambda starts: starts + 1))
spoilt(place_rows, "the last page is missing")(but(5, lambda pages: pages * (pages != pages[:, -1:])))
