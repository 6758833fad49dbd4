"""Attention of one row a sequence: what it says, what is refused, and that every shape compiles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import attend, nvrtc
from rustinfer.backends.cuda.attend import Attend, Cut
from rustinfer.registry import Case, Target
from rustinfer.testing.conformance import first_rows

from . import grids

CPU = torch.device("cpu")
TARGET = Target(torch.device("cuda"), torch.bfloat16, (9, 0), 64, decode=True)
KNOWN = {"scale": 0.125, "window": 0, "heads": 32, "kv_heads": 8, "dim": 64}
CUTS = ((7, 8, 2), (3, 2, 3, 0), (12, 4, 1))  # blocks, warps, stages, whether it reads ahead


@pytest.mark.parametrize("sm", [(9, 0), (10, 0)])
@pytest.mark.parametrize("page", [1, 16, 64])
@pytest.mark.parametrize("dim", [64, 128])
def test_it_compiles_and_does_not_spill(dim: int, page: int, sm: tuple[int, int]) -> None:
    made = nvrtc.compile_source("attend.cu", Cut.of(32, 8, dim, page, 132).defines, sm)
    assert made.code[:4] == b"\x7fELF"
    assert re.search(r"\b0 bytes spill stores", made.log), made.log


@pytest.mark.parametrize("sm", [(8, 0), (10, 0)])
def test_other_chips_are_refused_in_words(sm: tuple[int, int]) -> None:
    assert "Hopper" in (attend.refusal(KNOWN | {"target": replace(TARGET, sm=sm)}) or "")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"window": 7}, "not a window"),
        ({"dim": 80}, "64 or 128 dimensions"),
        ({"kv_heads": 2}, "up to 8 of one key head"),
        ({"heads": 0, "kv_heads": 0, "dim": 0}, "known when it is bound"),
        ({"target": replace(TARGET, rows=16)}, "17 to 256 rows"),
        ({"target": replace(TARGET, rows=512), "dim": 128}, "17 to 256 rows"),
        ({"target": replace(TARGET, rows=256)}, None),
        ({"target": replace(TARGET, rows=256), "dim": 128}, None),
        ({"dim": 128}, None),
        ({}, None),
    ],
)
def test_what_is_not_taken_is_refused_in_words(other: dict[str, object], reason: str | None) -> None:
    said = attend.refusal(KNOWN | {"target": TARGET} | other)
    assert reason in said if reason and said else said is reason


@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("heads", [1, 3, 8])
def test_blocks_fit_beside_each_other(dim: int, heads: int) -> None:
    assert attend.TOGETHER * (Cut.of(heads, 1, dim, 16, 132).shared + 1024) <= 228 * 1024


def taken() -> Iterator[Case]:
    """The op's cases that the kernel takes, if for another number of rows."""
    for case in ops.attention.make_cases(torch.bfloat16, CPU):
        if (
            case.decode
            and first_rows(case)
            and not attend.refusal(ops.attention.complete(case.bound) | {"target": TARGET})
        ):
            yield case


def said(case: Case, cut: tuple[int, ...] = CUTS[0], seed: int = 0, late: grids.Late = None) -> Tensor:
    """What the emulated kernel says."""
    q, keys, values, _, lengths, pages = case.flow
    sizes = [case.bound[name] for name in ("heads", "kv_heads", "dim")]
    with (
        mock.patch.object(attend, "loaded", partial(grids.loaded, seed=seed, late=late)),
        mock.patch.object(attend, "tensor_map", grids.tensor_map),
    ):
        return Attend(TARGET, Cut(*sizes, keys.shape[2], *cut), case.bound["scale"])(q, keys, values, lengths, pages)


@pytest.mark.parametrize("case", list(taken()), ids=lambda case: case.name)
def test_emulated_kernel_does_what_the_op_says(case: Case) -> None:
    q, keys, values, *rest = case.flow
    want = ops.attention(q.float(), keys.float(), values.float(), *rest, **case.bound).double()
    for cut in CUTS if len(q) < 20 else CUTS[:1]:
        assert (said(case, cut).double() - want).norm() <= 4e-3 * want.norm()


def test_a_row_is_alike_whoever_makes_it_and_whatever_comes_first() -> None:
    case = next(case for case in taken() if case.name == "decode many")
    whole = said(case)
    assert all(torch.equal(said(case, (grid, 8, 2), grid), whole) for grid in (2, 3, 16))
    q, keys, values, starts, lengths, pages = case.flow
    some = slice(3, 9)
    less = replace(case, flow=(q[some], keys, values, starts[:7], lengths[some], pages[some]))
    assert torch.equal(said(less), whole[some])


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("seed", range(2))
def test_what_the_kernel_in_front_writes_is_read_after_its_end(seed: int, ahead: int) -> None:
    case, cut = next(case for case in taken() if case.name == "decode many"), (16, 8, 2, ahead)
    want, (q, *caches, starts, lengths, pages) = said(case), case.flow
    there = torch.cat([t.flatten() for t in (q, *caches)])
    flat = there.clone()
    parts = flat.split([q.numel(), *(cache.numel() for cache in caches)])
    before, *dirty = (part.view(t.shape) for part, t in zip(parts, (q, *caches), strict=True))
    before.fill_(torch.nan)
    for table, last in zip(pages.long(), (lengths - 1).tolist(), strict=True):
        for cache in dirty:
            cache[table[last // 16], :, last % 16] = torch.nan
    early = replace(case, flow=(before, *dirty, starts, lengths, pages))
    assert torch.equal(said(early, cut, seed, (flat, there)), want)


def test_what_nobody_wrote_may_be_anything() -> None:
    case = next(case for case in taken() if case.name == "decode")
    want, (q, keys, values, starts, lengths, pages) = said(case), case.flow
    dirty = [cache.clone() for cache in (keys, values)]
    for table, last in zip(pages.long(), (lengths - 1).tolist(), strict=True):
        for cache in dirty:
            cache[table[last // 16], :, last % 16 + 1 :] = torch.nan
    assert torch.equal(said(replace(case, flow=(q, *dirty, starts, lengths, pages))), want)
