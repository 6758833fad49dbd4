"""Rows of 8 bits against the same rounding in plain torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rustinfer.backends.cpu import vnni
from rustinfer.ops.inputs import Draw
from rustinfer.registry import INT4, INT8, Binder, Format, PackedWeight, Policy, Target, load_plugins

CPU = torch.device("cpu")
WEIGHTS = {"zeros": (INT4, 32, "free"), "of 96": (INT4, 96, "free"), "no zeros": (INT4, 32, ""), "int8": (INT8, 64, "")}
FEW = 0.02
"""Of the results, which float32's own rounding may carry across a border between numbers of bfloat16."""


@pytest.fixture(autouse=True)
def present() -> None:
    if reason := vnni.missing():
        pytest.skip(reason)


def binder(invariant: bool = False, **policy: object) -> Binder:
    target = replace(Target.of("cpu", torch.bfloat16), rows=1024, invariant=invariant)
    return Binder(load_plugins().registry, target, Policy(**policy))  # type: ignore[arg-type]


def drawn(kind: str, rows: int) -> tuple[PackedWeight, Tensor]:
    d, (form, group, zeros) = Draw(f"{kind} {rows}", torch.bfloat16, CPU), WEIGHTS[kind]
    return d.packed(form, 75, 576, group, zeros=zeros), d.normal(rows, 576)


def rounded(x: Tensor, steps: float = 127.0) -> Tensor:
    """Rows [R, K] in whole multiples of a step: the largest number of each 32 columns over `steps`. In float64."""
    blocks = x.float().unflatten(1, (-1, 32))
    top = blocks.abs().amax(2, keepdim=True)
    return ((blocks * (torch.full_like(top, steps) / top)).round().double() * (top / steps).double()).flatten(1)


def unlike(x: Tensor, weight: PackedWeight, want: Tensor) -> float:
    """The share of the product's numbers that are not those wanted, rounded to bfloat16."""
    return float((binder().linear(weight=weight)(x) != want.bfloat16()).double().mean())


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9, 13, 31, 32, 45, 300])
def test_the_product_of_rounded_rows(kind: str, rows: int) -> None:
    weight, x = drawn(kind, rows)
    values = weight.unpacked().double().T
    assert unlike(x, weight, rounded(x) @ values) < FEW
    assert unlike(x, weight, rounded(x, 126.0) @ values) > 10 * FEW  # a step too many is seen
    assert unlike(x, weight, x.double() @ values) > 10 * FEW


@pytest.mark.parametrize("kind", WEIGHTS)
def test_within_half_a_step_a_number(kind: str) -> None:
    weight, x = drawn(kind, 40)
    values = weight.unpacked().double().T
    half = (x.double().unflatten(1, (-1, 32)).abs().amax(2) / 254).repeat_interleave(32, 1)
    got, want = binder().linear(weight=weight)(x).double(), x.double() @ values
    assert ((got - want).abs() <= half @ values.abs() * (1 + 2.0**-8) + want.abs() * 2.0**-8).all()


@pytest.mark.parametrize("kind", [INT4, INT8], ids=str)
def test_at_the_ends_of_what_integers_hold_a_row_is_what_it_is_alone(kind: Format) -> None:
    d = Draw("extremes", torch.bfloat16, CPU)
    weight, x = d.packed(kind, 40, 576, 32, zeros="free" if kind is INT4 else ""), d.normal(45, 576)
    weight.data[:8], weight.data[8:16] = (255, 0) if kind is INT4 else (127, -128)
    x[:4], x[4:8] = 3.0, -3.0
    assert unlike(x, weight, rounded(x) @ weight.unpacked().double().T) < FEW
    ops = binder(invariant=True)
    call = ops.linear(weight=weight)
    assert ops.bindings[-1].backend == "vnni"
    assert torch.equal(call(x), torch.cat([call(row) for row in x.split(1)]))


def test_numbers_that_are_not_finite_reach_the_output() -> None:
    weight, x = drawn("zeros", 1)
    for bad in (torch.nan, torch.inf, -torch.inf):
        for column in (40, 60):
            spoilt = x.clone()
            spoilt[0, column] = bad
            assert not binder().linear(weight=weight)(spoilt).isfinite().any()


def test_rows_of_zeros_give_the_bias_alone() -> None:
    weight, _ = drawn("zeros", 1)
    bias = torch.arange(75).to(torch.bfloat16)
    assert torch.equal(binder().linear(weight=weight, bias=bias)(torch.zeros(2, 576, dtype=torch.bfloat16))[1], bias)


def test_a_pin_and_a_preference_go_back_to_16_bits() -> None:
    weight, x = drawn("zeros", 9)
    for policy in ({"pins": {"linear": "cpu"}}, {"prefer": ("cpu",)}):
        ops = binder(**policy)
        fine = ops.linear(weight=weight)(x)
        assert ops.bindings[-1].backend == "cpu"
        assert not torch.equal(fine, binder().linear(weight=weight)(x))
    ops = binder(pins={"linear": "cpu"})
    ops.gate_up_silu(
        weight=replace(
            weight, data=weight.data[:64], scales=weight.scales[:64], zeros=None, shape=torch.Size((64, 576))
        )
    )
    assert {b.op.name: b.backend for b in ops.bindings}["linear"] == "cpu"


def test_other_weights_and_dtypes_are_refused_in_words() -> None:
    weight, _ = drawn("zeros", 1)
    ops = binder()
    ops.linear(weight=torch.zeros(32, 64, dtype=torch.bfloat16))
    assert ops.bindings[-1].rejected[0] == ("vnni", "is for packed weights")
    ops = Binder(load_plugins().registry, Target.of("cpu", torch.float32))
    ops.linear(weight=weight)
    assert ops.bindings[-1].backend == "cpu"
    assert dict(ops.bindings[-1].rejected)["vnni"] == "computes in bfloat16, not in float32"
