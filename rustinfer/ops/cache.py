"""Writing keys and values into the paged cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw
from .mutants import Arguments, instead, wrong
from .precision import EXACT


@op(mutates=("k_cache", "v_cache"), tolerance=EXACT, rows=("k", "v", "slots"))
def write_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """Store each row's key and value at its slot; a row whose slot is negative is skipped.

    k, v: [T, G, D]; caches: [pages, G, page_size, D], written in place; slots: [T] int64, page * page_size + offset,
    no two alike unless negative.
    """
    keep = slots >= 0
    page, offset = slots[keep] // k_cache.shape[2], slots[keep] % k_cache.shape[2]
    k_cache[page, :, offset] = k[keep]
    v_cache[page, :, offset] = v[keep]


def caches(d: Draw, pages: int, heads: int, size: int, dim: int) -> tuple[Tensor, Tensor]:
    """A key cache and a value cache full of what earlier sequences left behind."""
    return d.normal(pages, heads, size, dim, scale=3), d.normal(pages, heads, size, dim, scale=3)


@write_kv.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    shapes = ((1, 1, 16, 8), (7, 3, 16, 64), (40, 8, 16, 128), (9, 2, 32, 80), (5, 1, 1, 64), (6, 2, 7, 6))
    for rows, heads, size, dim in shapes:
        d = Draw(f"{rows}x{heads}x{dim} pages of {size}", dtype, device)
        pages = 2 * rows // size + 2
        slots = d.shuffled(pages * size)[:rows]
        k, v = d.normal(rows, heads, dim), d.normal(rows, heads, dim)
        yield Case(d.name, (k, v, *caches(d, pages, heads, size, dim), slots))
    d = Draw("skipped rows, views of a projection", dtype, device)
    kv = d.normal(6, 7 * 64).view(6, 7, 64)[:, 3:]
    slots = torch.tensor([3, -1, 47, -1, 0, 16], device=device)
    yield Case(d.name, (kv[:, :2], kv[:, 2:], *caches(d, 3, 2, 16, 64), slots))
    d = Draw("all rows skipped", dtype, device)
    flow = (d.normal(3, 2, 64), d.normal(3, 2, 64), *caches(d, 3, 2, 16, 64), torch.full((3,), -1, device=device))
    yield Case(d.name, flow)
    d = Draw("no rows", dtype, device)
    flow = (d.normal(0, 2, 64), d.normal(0, 2, 64), *caches(d, 3, 2, 16, 64), d.integers(0, below=48))
    yield Case(d.name, flow)
    d = Draw("decode", dtype, device)
    k, v, slots = d.normal(8, 3, 64), d.normal(8, 3, 64), d.shuffled(16)[:8] * 16 + 5
    yield Case(d.name, (k, v, *caches(d, 16, 3, 16, 64), slots), decode=True)


@instead(write_kv, "pages of 16 assumed")
def _(a: Arguments) -> None:
    """Where they then lie inside of the cache."""
    k_cache, v_cache, slots = a["k_cache"], a["v_cache"], a["slots"]
    keep = (slots >= 0) & (slots % 16 < k_cache.shape[2]) & (slots // 16 < k_cache.shape[0])
    page, offset = slots[keep] // 16, slots[keep] % 16
    k_cache[page, :, offset], v_cache[page, :, offset] = a["k"][keep], a["v"][keep]


@wrong(write_kv, "slot -1 wraps to the last slot")
def wrapped(a: Arguments) -> Arguments:
    return {"slots": a["slots"] % (a["k_cache"].shape[0] * a["k_cache"].shape[2])}


wrong(write_kv, "slot 0 is skipped too")(lambda a: {"slots": a["slots"].where(a["slots"] > 0, -1)})
wrong(write_kv, "keys stored as values")(lambda a: {"v": a["k"]})
wrong(write_kv, "first head everywhere")(lambda a: {"k": a["k"][:, :1].expand_as(a["k"])})
