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


def drawn(kind: str, rows: int, columns: int = 576) -> tuple[PackedWeight, Tensor]:
    """A weight and rows of which a quarter of the blocks hold a number far larger than the others."""
    d, (form, group, zeros) = Draw(f"{kind} {rows}", torch.bfloat16, CPU), WEIGHTS[kind]
    x = d.normal(rows, columns)
    x[:, 5::128] *= 2.0 ** torch.arange(1, 9).repeat(columns)[: x[:, 5::128].shape[1]]
    return d.packed(form, 75, columns, group, zeros=zeros), x


WORTH, MORE = 0.5, 16.0
"""A quad has four bits more where that spares so many times the mean block's error, and is at most so much larger."""
FIRST = torch.tensor([0, 1, 4, 5])
"""The columns of eight in one quad, as words of eight weights of 4 bits come apart; the others are in the next."""


def quads(blocks: Tensor, nibbles: bool) -> Tensor:
    """Blocks [R, B, 32] as quads [R, B, 8, 4], in any order."""
    if not nibbles:
        return blocks.unflatten(2, (8, 4))
    eights = blocks.unflatten(2, (4, 8))
    return torch.cat([eights[..., FIRST], eights[..., FIRST + 2]], 2)


def scales(blocks: Tensor, nibbles: bool, worth: float = WORTH) -> Tensor:
    """Each block's number that becomes 127 [R, B, 1]: its largest, or the largest outside a quad that pays."""
    most = quads(blocks.abs(), nibbles).amax(3).sort(2, descending=True).values
    top, rest = most[..., :1], torch.maximum(most[..., 1:2], most[..., :1] / MORE)
    spared = top * top - rest * rest
    return torch.where(spared > worth * (top * top).mean(1, keepdim=True), rest, top)


def rounded(x: Tensor, weight: PackedWeight, steps: float = 127.0, worth: float = WORTH) -> Tensor:
    """Rows [R, K] in whole multiples of a step: the number that scales each 32 columns over `steps`. In float64."""
    blocks = x.float().unflatten(1, (-1, 32))
    top = scales(blocks, weight.format is INT4, worth)
    return ((blocks * (torch.full_like(top, steps) / top)).round().double() * (top / steps).double()).flatten(1)


def unlike(x: Tensor, weight: PackedWeight, want: Tensor) -> float:
    """The share of the product's numbers that are not those wanted, rounded to bfloat16."""
    return float((binder().linear(weight=weight)(x) != want.bfloat16()).double().mean())


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9, 13, 31, 32, 45, 300])
def test_the_product_of_rounded_rows(kind: str, rows: int) -> None:
    weight, x = drawn(kind, rows)
    values = weight.unpacked().double().T
    assert unlike(x, weight, rounded(x, weight) @ values) < FEW
    assert unlike(x, weight, rounded(x, weight, 126.0) @ values) > 10 * FEW  # a step too many is seen
    assert unlike(x, weight, rounded(x, weight, worth=1e9) @ values) > 10 * FEW  # and rows without larger quads
    assert unlike(x, weight, x.double() @ values) > 10 * FEW


def test_the_vocabulary_s_product_of_rounded_rows() -> None:
    weight, x = drawn("int8", 9)
    ops, picked = binder(), torch.tensor([7, 2])
    got = ops.lm_head(weight=weight)(x, picked)
    assert ops.bindings[-1].backend == "vnni"
    want = rounded(x, weight)[picked] @ weight.unpacked().double().T
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4 * float(want.std()))


@pytest.mark.parametrize("columns", [32, 96, 544, 608])
def test_any_number_of_blocks(columns: int) -> None:
    weight, x = drawn("zeros", 9, columns) if columns != 96 else drawn("of 96", 9, columns)
    x[3], x[4, 40:] = 0, 0
    assert unlike(x, weight, rounded(x, weight).nan_to_num() @ weight.unpacked().double().T) < FEW


@pytest.mark.parametrize("kind", WEIGHTS)
def test_within_half_a_step_a_number(kind: str) -> None:
    weight, x = drawn(kind, 40)
    values = weight.unpacked().double().T
    top = scales(x.float().unflatten(1, (-1, 32)), weight.format is INT4)[..., 0]
    half = (top.double() / 254).repeat_interleave(32, 1)
    got, want = binder().linear(weight=weight)(x).double(), x.double() @ values
    assert ((got - want).abs() <= half @ values.abs() * (1 + 2.0**-8) + want.abs() * 2.0**-8).all()


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_number_far_larger_costs_its_neighbours_nothing(kind: str) -> None:
    """At every place of a block: errors are those of steps of 1 / 127, not of 15 / 127."""
    weight, x = drawn(kind, 32)
    values = weight.unpacked().double().T
    x[:] = torch.arange(576).remainder(63).sub(31) / 31
    x[range(32), range(64, 96)] = 15.0
    got, want = binder().linear(weight=weight)(x).double(), x.double() @ values
    assert ((got - want).abs() < values.norm(dim=0) / 127 + want.abs() * 2.0**-8).all()


@pytest.mark.parametrize("kind", [INT4, INT8], ids=["int4", "int8"])
def test_at_the_ends_of_what_integers_hold_a_row_is_what_it_is_alone(kind: Format) -> None:
    d = Draw("extremes", torch.bfloat16, CPU)
    weight, x = d.packed(kind, 40, 576, 32, zeros="free" if kind is INT4 else ""), d.normal(45, 576)
    weight.data[:8], weight.data[8:16] = (255, 0) if kind is INT4 else (127, -128)
    x[:4], x[4:8] = 3.0, -3.0
    x[8:16], x[8:12, ::96], x[12:16, ::96] = 3.0, 40.0, -40.0
    assert unlike(x, weight, rounded(x, weight) @ weight.unpacked().double().T) < FEW
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
