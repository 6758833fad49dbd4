"""Gate, up and SiLU of 65 to 256 rows: how they are cut, what is refused, and what the emulated kernel says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch

from rustinfer import ops
from rustinfer.backends.cuda import few, nvrtc, wide
from rustinfer.backends.cuda.wide import Cut, Product, cut_of
from rustinfer.registry import Target

from . import grids

LLAMA = ((28672, 4096), (16384, 2048), (16384, 3072))  # 8B, 1B, 3B
TARGET = Target(torch.device("cpu"), torch.bfloat16, (9, 0), 256, decode=True)
CUTS = {  # rows of a call, the cut, the blocks that run at once
    "rows in two parts, two tiles a block": (250, Cut(896, 128, 224, 2, 2, 1), 4),
    "outputs side by side, fewer stages than steps": (90, Cut(448, 320, 224, 2, 1, 2, stages=2), 132),
    "two by two, two tiles a block": (120, Cut(512, 192, 128, 1, 2, 2, stages=2), 4),
    "three tiles for two clusters": (65, Cut(768, 128, 128, 2, 1, 2), 4),
}


@contextmanager
def emulated(blocks: int, seed: int) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in (
            ("CLUSTERS", {2: blocks // 2, 4: blocks // 4}),
            ("loaded", partial(grids.loaded, seed=seed)),
            ("tensor_map", grids.tensor_map),
            ("halves_map", grids.halves_map),
        ):
            stack.enter_context(mock.patch.object(wide, name, value))
        yield


@pytest.mark.parametrize("shape", LLAMA)
@pytest.mark.parametrize("rows", [65, 128, 256])
def test_a_cut_covers_the_product_fits_and_does_not_spill(rows: int, shape: tuple[int, int]) -> None:
    cut = cut_of(rows, *shape)
    assert cut is not None
    assert rows <= cut.rows * cut.down < 2 * rows
    assert cut.blocks * cut.rounds // cut.down * cut.width == shape[0]
    assert 110 <= cut.blocks <= 132
    assert cut.shared <= 227 * 1024
    made = nvrtc.compile_source("wide.cu", cut.defines, (9, 0))
    assert re.search(r"\b0 bytes spill stores", made.log), made.log
    assert "wgmma" not in made.log, made.log  # a warning that matrix instructions wait for each other


@pytest.mark.parametrize("cluster", [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("width", wide.WIDTHS)
def test_every_width_compiles_for_blackwell_and_does_not_spill(width: int, cluster: tuple[int, int]) -> None:
    made = nvrtc.compile_source("wide.cu", Cut(28672, 4096, width, 2, *cluster).defines, (10, 0))
    assert made.code[:4] == b"\x7fELF"
    assert re.search(r"\b0 bytes spill stores", made.log), made.log


@pytest.mark.parametrize("case", CUTS)
def test_emulated_kernel_does_what_the_op_says(case: str) -> None:
    rows, cut, blocks = CUTS[case]
    x, weight = torch.randn(rows, cut.columns).bfloat16(), (torch.randn(cut.outputs, cut.columns) * 0.1).bfloat16()
    exact = ops.gate_up_silu.reference(x.float(), weight=weight.float())
    said = [torch.full_like(exact, torch.nan, dtype=torch.bfloat16) for _ in range(2)]
    for seed, out in enumerate(said):
        with emulated(blocks, seed):
            Product(TARGET, weight, cut)(x, out=out)
    assert (said[0].double() - exact.double()).norm() <= 3e-3 * exact.double().norm()
    assert torch.equal(*said)


@pytest.mark.parametrize(
    ("rows", "shape", "reason"),
    [
        (65, (28672, 4096), None),
        (128, (28672, 4096), None),
        (129, (28672, 4096), "129 to 224 rows"),
        (224, (28672, 4096), "129 to 224 rows"),
        (225, (28672, 4096), None),
        (256, (16384, 2048), None),
        (257, (28672, 4096), "up to 2048 columns"),
        (256, (3072, 576), "no tiles for 3072 outputs"),
        (256, (16384, 2000), "no tiles for 16384 outputs of 2000"),
    ],
)
def test_what_others_do_faster_is_refused_in_words(rows: int, shape: tuple[int, int], reason: str | None) -> None:
    weight = torch.empty(shape, dtype=torch.bfloat16, device="meta")
    said = few.gated_refusal({"weight": weight, "target": replace(TARGET, rows=rows)})
    assert reason in said if reason and said else said is reason
