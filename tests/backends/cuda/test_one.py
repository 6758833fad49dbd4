"""Products of one row: their cuts, what is refused, that they compile, and what the emulated kernel says."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import few, nvrtc, one
from rustinfer.backends.cuda.one import Cut
from rustinfer.registry import Op, Target

from . import grids

CPU = torch.device("cpu")
TARGET = Target(torch.device("cuda"), torch.bfloat16, (9, 0), 1, decode=True)
HEADS = {"NORM": 1, "HEADS": 32, "KV_HEADS": 8, "DIM": 128, "PAGE": 16}
KERNELS = {
    ops.linear: few.linear,
    ops.norm_gate_up_silu: one.norm_gate_up_silu,
    ops.norm_qkv_rope_write: one.norm_qkv_rope_write,
}
SHAPES = (
    (4096, 14336),
    (4096, 4096),
    (28672, 4096),
    (6144, 4096),
    (3072, 2048),
    (2048, 8192),
    (5120, 3072),
    (512, 32768),
)


@pytest.mark.parametrize("sm", [(9, 0), (10, 0)])
@pytest.mark.parametrize("how", [{}, HEADS, {"NORM": 1, "GATED": 1}], ids=["plain", "rotated", "gated"])
@pytest.mark.parametrize("columns", [2048, 4096, 14336])
def test_it_compiles_and_does_not_spill(how: dict[str, int], columns: int, sm: tuple[int, int]) -> None:
    made = nvrtc.compile_source("one.cu", Cut.of(6144, columns, 132).defines | one.PLAIN | how, sm)
    assert made.code[:4] == b"\x7fELF"
    assert re.search(r"\b0 bytes spill stores", made.log), made.log


@pytest.mark.parametrize(("outputs", "columns"), SHAPES)
def test_a_cut_covers_the_product_and_fills_a_multiprocessor(outputs: int, columns: int) -> None:
    cut = Cut.of(outputs, columns, 132)
    assert outputs % cut.each == 0
    assert columns % cut.chunk == 0
    assert cut.stages >= 4
    assert 1024 * 114 < cut.shared <= 1024 * one.MEMORY


@pytest.mark.parametrize(
    ("change", "shape", "reason"),
    [
        ({"rows": 2}, (4096, 4096), "one row"),
        ({"rows": None}, (4096, 4096), "one row"),
        ({"sm": (10, 0)}, (4096, 4096), "Hopper"),
        ({}, (4096, 4200), "in blocks of"),
        ({}, (4096, 1024), "for 2048 to 32768 columns"),
        ({}, (4096, 131072), "for 2048 to 32768 columns"),
        ({}, (3072, 2048), None),
        ({}, (4094, 4096), "in blocks of"),
        ({}, (28672, 4096), None),
    ],
)
def test_what_it_cannot_multiply_is_refused_in_words(
    change: dict[str, Any], shape: tuple[int, int], reason: str | None
) -> None:
    weight = torch.empty(shape, dtype=torch.bfloat16, device="meta")
    said = one.refusal({"weight": weight, "target": replace(TARGET, **change)})
    assert reason in said if reason and said else said is reason


def bound(op: Op, columns: int) -> tuple[list[Tensor], dict[str, Any]]:
    """What flows and what is bound: 40 hidden units, or heads of 16."""
    draw = lambda *size: torch.randn(*size).bfloat16()  # noqa: E731
    norm = {"norm": draw(columns), "eps": 1e-5}
    if op is ops.linear:
        return [draw(1, columns)], {"weight": draw(44, columns), "bias": draw(44)}
    if op is ops.norm_gate_up_silu:
        return [draw(1, columns), draw(1, columns)], norm | {"weight": draw(80, columns) * 0.05}
    angles = torch.rand(64, 8) * 6
    flow = [
        draw(1, columns),
        draw(1, columns),
        torch.tensor([37]),
        torch.tensor([21]),
        draw(2, 2, 16, 16),
        draw(2, 2, 16, 16),
    ]
    rest = {"bias": draw(128), "cos": angles.cos(), "sin": angles.sin(), "heads": 4, "kv_heads": 2}
    return flow, norm | {"weight": draw(128, columns)} | rest


def wide(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


BEHIND = {ops.norm_gate_up_silu: ops.gate_up_silu, ops.norm_qkv_rope_write: ops.qkv_rope_write}


def exact(op: Op, flow: list[Tensor], rest: dict[str, Any]) -> tuple[Tensor, ...]:
    """What it gives and what it changes, in fp32 but for the norm, which rounds where the op says."""
    given = {name: wide(value) for name, value in rest.items() if name not in ("norm", "eps")}
    if op not in BEHIND:
        return (op.reference(*map(wide, flow), **given), *map(wide, flow))
    normed, total = ops.add_rms_norm.reference(*flow[:2], weight=rest["norm"], eps=rest["eps"])
    more = [wide(part) for part in flow[2:]]
    return BEHIND[op].reference(normed.float(), *more, **given), total, *flow[:2], *more


@pytest.mark.parametrize("columns", [256, 3072])
@pytest.mark.parametrize("op", KERNELS, ids=lambda op: op.name)
def test_emulated_kernel_does_what_the_op_says_however_blocks_and_copies_take_turns(op: Op, columns: int) -> None:
    flow, rest = bound(op, columns)
    want, said = exact(op, flow, op.complete(rest)), []
    for seed in range(3):
        with mock.patch.object(one, "loaded", partial(grids.loaded, seed=seed)):
            got = KERNELS[op](replace(TARGET, device=CPU), **op.complete(rest))(*flow)
        said.append((*(got if isinstance(got, tuple) else (got,)), *flow))
        for ours, theirs in zip(said[-1], want, strict=True):
            assert (ours.double() - theirs.double()).norm() <= 4e-3 * theirs.double().norm()
    assert all(torch.equal(a, b) for other in said[1:] for a, b in zip(said[0], other, strict=True))
