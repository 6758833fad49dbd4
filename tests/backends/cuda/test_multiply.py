"""Products by what each warp has, for chips without a warp group's instructions: kernels/multiply.cuh, emulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import few, nvrtc, wide
from rustinfer.registry import Target

from . import grids

TARGET = Target(torch.device("cpu"), torch.bfloat16, (9, 0), decode=True)
BY_WARPS = {"NO_WGMMA": 1}


def inputs(rows: int, outputs: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, a weight, and a place for gate, up and SiLU of both."""
    draw = torch.Generator().manual_seed(rows)
    x, weight = (torch.randn(size, columns, generator=draw).bfloat16() for size in (rows, outputs))
    return x, weight * 0.1, torch.full((rows, outputs // 2), torch.nan, dtype=torch.bfloat16)


def of_few(rows: int, **how: int) -> tuple[Tensor, Tensor]:
    """What few.cu says, compiled with `how`, and what the op says."""
    x, weight, out = inputs(rows, 256, 192)
    with mock.patch.multiple(few, loaded=partial(grids.loaded, **how), tensor_map=grids.tensor_map):
        few.Product(replace(TARGET, rows=rows), weight, HEADS=0, GATED=1)(x, out=out)
    return out, ops.gate_up_silu.reference(x.float(), weight=weight.float())


def of_wide(width: int, **how: int) -> tuple[Tensor, Tensor]:
    """The same of wide.cu in tiles of `width` outputs."""
    x, weight, out = inputs(120, 2 * width, 192)
    with mock.patch.multiple(
        wide, loaded=partial(grids.loaded, **how), tensor_map=grids.tensor_map, halves_map=grids.halves_map
    ):
        wide.Product(TARGET, weight, wide.Cut(2 * width, 192, width, 2, 1, 2, stages=2))(x, out=out)
    return out, ops.gate_up_silu.reference(x.float(), weight=weight.float())


@pytest.mark.parametrize(
    ("product", "size"), [(of_few, 9), (of_few, 32), (of_few, 64), (of_wide, 128), (of_wide, 224), (of_wide, 256)]
)
def test_they_are_those_of_a_warp_group(product: Callable[..., tuple[Tensor, Tensor]], size: int) -> None:
    said, exact = product(size, **BY_WARPS)
    assert (said.double() - exact.double()).norm() <= 4e-3 * exact.double().norm()
    assert torch.equal(said, product(size)[0])  # emulated, sums of both are in the order of columns


def test_hopper_can_be_had_without_a_warp_groups_instructions() -> None:
    defines = few.Cut.of(64, 4096, 4096).defines | {"HEADS": 0, "GATED": 0, "NORM": 0}
    by_group, by_warps = (nvrtc.compile_source("few.cu", defines | how, (9, 0)).code for how in ({}, BY_WARPS))
    assert by_warps != by_group
