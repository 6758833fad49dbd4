"""Products of a few rows: how they are cut, what is refused, and that every cut compiles."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import cuda, few, nvrtc
from rustinfer.backends.cuda.few import Cut
from rustinfer.registry import Case, Op, Target
from rustinfer.testing.conformance import first_rows
from rustinfer.testing.values import tensors

from . import grids

PLAIN = {"HEADS": 0, "GATED": 0, "NORM": 0}
HEADS = {"GATED": 0, "HEADS": 32, "KV_HEADS": 8, "DIM": 128, "PAGE": 16, "NORM": 0}
EPILOGUES = {
    "plain": PLAIN,
    "rotated": HEADS,
    "gated": PLAIN | {"GATED": 1},
    "in front of a norm": PLAIN | {"NORM": 1},
    "rotated behind one": HEADS | {"NORM": 2},
    "gated behind one": PLAIN | {"GATED": 1, "NORM": 2},
}
SHAPES = ((2048, 2048), (2048, 8192), (4096, 14336), (576, 576), (192, 1024), (6144, 4096))
CPU = torch.device("cpu")
OPS = (
    ops.linear,
    ops.gate_up_silu,
    ops.qkv_rope_write,
    ops.linear_norm_gate_up_silu,
    ops.linear_norm_qkv_rope_write,
)
KERNELS = {op: cuda.kernels[op.name] for op in OPS}
TARGET = Target(torch.device("cuda"), torch.bfloat16, (9, 0), 32, decode=True)


def weight(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


@pytest.mark.parametrize("sm", [(9, 0), (10, 0)])
@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("rows", [16, 32, 64])
def test_it_compiles_and_does_not_spill(epilogue: str, rows: int, sm: tuple[int, int]) -> None:
    cut = Cut.of(rows, 4096, 4096) if "front" in epilogue else Cut.of(rows, 6144, 4096, 128)
    made = nvrtc.compile_source("few.cu", cut.defines | EPILOGUES[epilogue], sm)
    assert made.code[:4] == b"\x7fELF"
    assert re.search(r"\b0 bytes spill stores", made.log), made.log


@pytest.mark.parametrize("sm", [(8, 0), (10, 0)])
def test_other_chips_are_refused_in_words(sm: tuple[int, int]) -> None:
    assert "Hopper" in (few.refusal({"weight": weight(2048, 2048), "target": replace(TARGET, sm=sm)}) or "")


@pytest.mark.parametrize(("outputs", "columns"), SHAPES)
@pytest.mark.parametrize("rows", [9, 16, 17, 32, 33, 64])
def test_a_cut_covers_the_product_and_fits(rows: int, outputs: int, columns: int) -> None:
    cut = Cut.of(rows, outputs, columns)
    assert cut.rows >= rows
    assert cut.blocks // cut.splits * cut.tiles * few.TILE == outputs
    assert columns % (cut.splits * few.BAND) == 0
    assert cut.rows >= 2 * cut.splits  # a block finishes pairs of rows
    assert 2 <= cut.stages <= columns // cut.splits // few.BAND
    assert cut.shared <= 1024 * (few.BESIDE if outputs <= few.NARROW else few.ALONE)


@pytest.mark.parametrize(
    ("refusal", "rows", "shape", "reason"),
    [
        (few.refusal, 8, (2048, 2048), "9 to 64 rows"),
        (few.refusal, None, (2048, 2048), "9 to 64 rows"),
        (few.refusal, 16, (4096, 4096), "17 to 64 rows"),
        (few.refusal, 32, (8192, 4096), "up to 4096 outputs"),
        (few.refusal, 32, (2048, 2000), "in blocks of"),
        (few.refusal, 32, (2000, 2048), "in blocks of"),
        (few.rotated_refusal, 16, (6144, 4096), "17 to 64 rows"),
        (few.gated_refusal, 32, (28672, 4096), "up to 2048 columns"),
        (few.gated_refusal, 64, (16384, 2048), "9 to 32 rows"),
        (few.gated_refusal, 32, (192, 2048), "in blocks of"),
        (few.refusal, 64, (3072, 2048), None),
        (few.refusal, 64, (4096, 14336), None),
        (few.rotated_refusal, 32, (6144, 4096), None),
        (few.rotated_refusal, 64, (6144, 4096), None),
        (few.gated_refusal, 16, (16384, 2048), None),
    ],
)
def test_what_is_faster_by_others_is_refused_in_words(
    refusal: Callable[..., str | None], rows: int | None, shape: tuple[int, int], reason: str | None
) -> None:
    said = refusal({"weight": weight(*shape), "target": replace(TARGET, rows=rows), "cos": torch.empty(8, 64)})
    assert reason in said if reason and said else said is reason


def emulated(op: Op) -> Iterator[tuple[Case, Target]]:
    """The cases of an op that the kernel takes."""
    for case in op.make_cases(torch.bfloat16, CPU):
        rows = first_rows(case)
        target = Target(CPU, torch.bfloat16, (9, 0), max(rows, few.LEAST_ROWS), decode=True)
        bound = op.complete(case.bound) | {"target": target}
        if 0 < rows <= few.MOST_ROWS and not KERNELS[op].when(bound):
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
            got = KERNELS[op].build(target, **bound)(*case.flow)
            want = op.reference(*exact, **{name: wide(value) for name, value in bound.items()})
            for (_, ours), (_, theirs) in zip(tensors((got, *case.flow), ""), tensors((want, *exact), ""), strict=True):
                assert (ours.double() - theirs.double()).norm() <= 4e-3 * theirs.double().norm(), case.name


def test_a_product_of_tritons_takes_what_one_of_ours_left_of_a_norm() -> None:
    root = Path(__file__).parents[3]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.backends.cuda.joints"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert max(json.loads(done.stdout.splitlines()[-1])) < 5e-3


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
