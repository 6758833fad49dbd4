"""Products of a few rows: how they are cut, what is refused, and that every cut compiles."""

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
from rustinfer.backends.cuda import few, nvrtc
from rustinfer.backends.cuda.few import Cut
from rustinfer.registry import Case, Op, Target
from rustinfer.testing.conformance import first_rows

from . import grids

HEADS = {"HEADS": 32, "KV_HEADS": 8, "DIM": 128, "PAGE": 16}
SHAPES = ((2048, 2048), (2048, 8192), (4096, 14336), (576, 576), (192, 1024), (6144, 4096))
CPU = torch.device("cpu")
KERNELS = {ops.linear: few.linear, ops.qkv_rope_write: few.qkv_rope_write}
TARGET = Target(torch.device("cuda"), torch.bfloat16, (9, 0), 32, decode=True)


def weight(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


@pytest.mark.parametrize("heads", [{"HEADS": 0}, HEADS], ids=["plain", "rotated"])
@pytest.mark.parametrize("rows", [16, 32, 64])
def test_it_compiles_for_hopper_and_does_not_spill(heads: dict[str, int], rows: int) -> None:
    made = nvrtc.compile_source("few.cu", Cut.of(rows, 6144, 4096, 128).defines | heads, (9, 0))
    assert made.code[:4] == b"\x7fELF"
    assert re.search(r"\b0 bytes spill stores", made.log), made.log


@pytest.mark.parametrize("sm", [(8, 0), (10, 0)])
def test_other_chips_are_refused_in_words(sm: tuple[int, int]) -> None:
    with pytest.raises(nvrtc.CompileError, match=r"needs compute capability 9\.0"):
        nvrtc.compile_source("few.cu", Cut.of(32, 2048, 2048).defines | {"HEADS": 0}, sm)
    assert few.refusal({"weight": weight(2048, 2048), "target": replace(TARGET, sm=sm)})


@pytest.mark.parametrize(("outputs", "columns"), SHAPES)
@pytest.mark.parametrize("rows", [9, 16, 17, 32, 33, 64])
def test_a_cut_covers_the_product_and_leaves_room_for_another_block(rows: int, outputs: int, columns: int) -> None:
    cut = Cut.of(rows, outputs, columns)
    assert cut.rows >= rows
    assert cut.blocks // cut.splits * cut.tiles * few.TILE == outputs
    assert columns % (cut.splits * few.BAND) == 0
    assert cut.rows >= 2 * cut.splits  # a block finishes pairs of rows
    assert 2 <= cut.stages <= columns // cut.splits // few.BAND
    assert cut.shared <= few.SHARED


@pytest.mark.parametrize(
    ("target", "shape", "reason"),
    [
        (replace(TARGET, rows=16), (2048, 2048), "17 to 32 rows"),
        (replace(TARGET, rows=None), (2048, 2048), "17 to 32 rows"),
        (TARGET, (2048, 2000), "in blocks of"),
        (TARGET, (2000, 2048), "in blocks of"),
        (TARGET, (4096, 4096), "up to 3072 outputs"),
    ],
)
def test_what_it_does_not_take_is_refused_in_words(target: Target, shape: tuple[int, int], reason: str) -> None:
    assert reason in str(few.refusal({"weight": weight(*shape), "target": target}))


def test_a_model_of_a_known_size_is_taken() -> None:
    assert few.refusal({"weight": weight(3072, 2048), "target": TARGET, "cos": torch.empty(8, 32)}) is None


def emulated(op: Op) -> Iterator[tuple[Case, Target]]:
    """The cases of an op that the kernel takes."""
    for case in op.make_cases(torch.bfloat16, CPU):
        rows = first_rows(case)
        target = Target(CPU, torch.bfloat16, (9, 0), max(rows, few.LEAST_ROWS), decode=True)
        bound = op.complete(case.bound) | {"target": target}
        if 0 < rows <= few.MOST_ROWS and not few.refusal(bound):
            yield case, target


def wide(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


@pytest.mark.parametrize("op", KERNELS, ids=lambda op: op.name)
def test_emulated_kernel_does_what_the_op_says(op: Op) -> None:
    cases = list(emulated(op))
    assert len(cases) >= 2
    with mock.patch.object(few, "loaded", grids.loaded), mock.patch.object(few, "tensor_map", grids.tensor_map):
        for case, target in cases:
            exact, bound = [wide(part) for part in case.flow], op.complete(case.bound)
            got = KERNELS[op](target, **bound)(*case.flow)
            want = op.reference(*exact, **{name: wide(value) for name, value in bound.items()})
            for ours, theirs in zip((got, *case.flow), (want, *exact), strict=True):
                assert (ours.double() - theirs.double()).norm() <= 4e-3 * theirs.double().norm(), case.name  # type: ignore[union-attr]


def test_products_are_alike_however_blocks_and_copies_take_turns() -> None:
    x, matrix = torch.randn(20, 1024).bfloat16(), torch.randn(128, 1024).bfloat16()
    said = []
    for seed in range(4):
        with (
            mock.patch.object(few, "loaded", partial(grids.loaded, seed=seed)),
            mock.patch.object(few, "tensor_map", grids.tensor_map),
        ):
            said.append(few.linear(replace(TARGET, device=CPU), weight=matrix)(x))
    assert all(torch.equal(said[0], other) for other in said[1:])
