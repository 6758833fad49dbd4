"""Conformance cases of attention, and wrong versions of it, each a slip that real kernels have made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case

from .attention import attention, gather
from .inputs import MAGNITUDES, Draw
from .mutants import Arguments, instead, wrong
from .precision import wide


@dataclass(frozen=True)
class Batch:
    """A batch for a case: `rows[s]` new rows of a sequence that then has `lengths[s]` positions (0: padding)."""

    name: str
    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    heads: int = 4
    kv_heads: int = 2
    dim: int = 64
    page_size: int = 16
    window: int = 0
    scale: float = 1.0
    decode: bool = False
    in_order: bool = False

    def case(self, dtype: torch.dtype, device: torch.device) -> Case:
        """The tensors: pages scrambled or in order, large stale values wherever no sequence has written."""
        d = Draw(self.name, dtype, device)
        table = self._table(d)
        shape = (table.numel() + 3, self.kv_heads, self.page_size, self.dim)
        live = self._live(table, shape[0]).to(device)
        k_cache, v_cache = (d.normal(*shape, scale=self.scale).where(live, d.normal(*shape, scale=50)) for _ in "kv")
        q = d.normal(sum(self.rows), self.heads, self.dim, scale=self.scale)
        starts = torch.tensor((0, *self.rows)).cumsum(0)
        whole = (starts, torch.tensor(self.lengths, dtype=torch.int64), table)
        flow = (q, k_cache, v_cache, *(x.to(device, torch.int32) for x in whole))
        sizes = {"heads": self.heads, "kv_heads": self.kv_heads, "dim": self.dim}
        return Case(self.name, flow, {"scale": self.dim**-0.5, "window": self.window, **sizes}, self.decode)

    def _table(self, d: Draw) -> Tensor:
        widest = max((-(-n // self.page_size) for n in self.lengths), default=0) + 1
        pages = d.shuffled(len(self.lengths) * widest + 1).cpu()
        return (pages.sort().values if self.in_order else pages)[1:].view(len(self.lengths), widest)

    def _live(self, table: Tensor, pages: int) -> Tensor:
        live = torch.zeros(pages, 1, self.page_size, 1, dtype=torch.bool)
        for row, length in zip(table, self.lengths, strict=True):
            at = torch.arange(length)
            live[row[at // self.page_size], 0, at % self.page_size] = True
        return live


BATCHES = (
    Batch("one token", (1,), (1,)),
    Batch("prompt", (37,), (37,)),
    Batch("prompt of whole pages", (32,), (32,), dim=128),
    Batch("long prompt", (300,), (300,), heads=3, kv_heads=1),
    Batch("ragged prompts", (5, 17, 1, 40), (5, 17, 1, 40), heads=9, kv_heads=3),
    Batch("chunks", (7, 16, 3), (50, 16, 130), heads=8, kv_heads=2),
    Batch("chunks with decodes", (1, 20, 1, 1), (33, 45, 1, 200), heads=6, kv_heads=6),
    Batch("padding among prompts", (4, 2, 3), (9, 0, 3)),
    Batch("window", (30, 1, 12), (30, 90, 75), window=20),
    Batch("window of one", (6,), (11,), window=1),
    Batch("window wider than all", (9,), (25,), window=1000),
    Batch("pages of 7", (10, 3), (10, 31), page_size=7),
    Batch("pages of 32", (10, 3), (10, 97), page_size=32),
    Batch("pages of 1", (5,), (12,), page_size=1),
    Batch("dim 80", (8, 2), (8, 40), dim=80),
    Batch("dim 8", (8, 2), (8, 40), dim=8, heads=2, kv_heads=1),
    Batch("dim 6", (3,), (5,), dim=6, heads=1, kv_heads=1),
    Batch("dim 256", (5,), (21,), dim=256),
    Batch("prompts in order", (150, 1, 70), (150, 1, 300), heads=8, in_order=True),
    Batch("dim 128 in order", (3, 100), (200, 110), heads=2, kv_heads=1, dim=128, in_order=True),
    *(Batch(f"times {m:g}", (9, 3), (9, 50), scale=m) for m in MAGNITUDES),
    Batch("no rows", (), ()),
    Batch("decode", (1, 1, 1, 1, 1), (1, 16, 17, 100, 63), heads=9, kv_heads=3, decode=True),
    Batch("decode one long", (1,), (1500,), heads=8, kv_heads=1, dim=128, decode=True),
    Batch("decode with padding", (1, 1, 1, 1), (40, 0, 12, 0), decode=True),
    Batch("decode all padding", (1, 1), (0, 0), decode=True),
    Batch("decode window", (1, 1, 1), (5, 64, 300), window=33, decode=True),
    Batch("decode pages of 7", (1, 1, 1), (5, 70, 30), page_size=7, decode=True),
    Batch("decode many", (1,) * 25, (1, 0, 16, 200, 33) * 5, heads=8, kv_heads=2, decode=True),
    Batch("decode many wide", (1,) * 30, (17, 90, 0, 5, 64) * 6, kv_heads=1, dim=128, page_size=32, decode=True),
    Batch("decode many on pages of 4", (1,) * 25, (21,) * 25, page_size=4, decode=True),
    Batch("decode ungrouped", (1, 1), (45, 20), heads=5, kv_heads=5, dim=80, decode=True),
)


@attention.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for batch in BATCHES:
        yield batch.case(dtype, device)
    q, *rest = Batch("queries of a projection", (5, 2), (5, 30)).case(dtype, device).flow
    wider = torch.cat((q, q, q), 1)[:, 4:8]
    yield Case("queries of a projection", (wider, *rest), {"scale": 0.125, "window": 0})


def rows_of(a: Arguments) -> Tensor:
    """How many rows each sequence has."""
    rows: Tensor = a["query_starts"].diff()
    return rows


@wrong(attention, "no causal mask")
def _(a: Arguments) -> Arguments:
    """Every row as a sequence of its own that sees all of its sequence's positions."""
    owner = torch.repeat_interleave(rows_of(a))
    starts = torch.arange(len(a["q"]) + 1, device=a["q"].device)
    return {"query_starts": starts, "lengths": a["lengths"][owner], "pages": a["pages"][owner]}


wrong(attention, "scale dropped")(lambda a: {"scale": 1.0})
wrong(attention, "window ignored")(lambda a: {"window": 0})
wrong(attention, "window one too wide")(lambda a: {"window": a["window"] and a["window"] + 1})
wrong(attention, "page table ignored")(lambda a: {"pages": torch.arange(a["pages"].numel()).view_as(a["pages"])})
wrong(attention, "chunk taken for the whole sequence")(lambda a: {"lengths": torch.minimum(a["lengths"], rows_of(a))})
wrong(attention, "last position unseen")(lambda a: {"lengths": a["lengths"] - (a["lengths"] > rows_of(a)).int()})
wrong(attention, "padding attends")(lambda a: {"lengths": torch.maximum(a["lengths"], rows_of(a))})
wrong(attention, "first sequence's pages for all")(lambda a: {"pages": a["pages"][:1].expand_as(a["pages"])})


@instead(attention, "heads interleaved over groups")
def _(a: Arguments) -> Any:
    order = torch.arange(a["q"].shape[1]).view(-1, a["k_cache"].shape[1]).T.flatten()
    return attention(**a | {"q": a["q"][:, order]})[:, order.argsort()]


@instead(attention, "softmax overflows")
def _(a: Arguments) -> Tensor:
    """The last row of each sequence with a softmax that takes nothing off before it exponentiates."""
    q, window, out = a["q"], a["window"], attention(**a)
    for row, length, table in zip(a["query_starts"][1:].tolist(), a["lengths"].tolist(), a["pages"], strict=True):
        if length:
            keys, values = wide(gather(a["k_cache"], table, length)), wide(gather(a["v_cache"], table, length))
            grouped = wide(q[row - 1]).reshape(keys.shape[0], -1, q.shape[-1])
            weights = (torch.einsum("ghd,gsd->ghs", grouped, keys) * a["scale"]).exp()
            visible = weights[..., -(window or length) :], values[:, -(window or length) :]
            out[row - 1] = (torch.einsum("ghs,gsd->ghd", *visible) / visible[0].sum(-1, True)).flatten(0, 1).to(q.dtype)
    return out  # type: ignore[no-any-return]
