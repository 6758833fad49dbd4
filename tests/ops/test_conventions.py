"""Every op is well defined: cases that tell right from wrong, mutants that prove it, compositions that agree."""

from __future__ import annotations

import inspect

import pytest
import torch

from rustinfer import ops
from rustinfer.registry import Binder, Kernel, Op, Policy, Registry, Requires, Target
from rustinfer.registry.op import Function
from rustinfer.testing import problems
from rustinfer.testing.definition import kernel_failures
from rustinfer.testing.values import tensors

ALL = list(ops.rustinfer_ops())
FUSED = [op for op in ALL if op.composition]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = Registry()
    for op in ALL:
        registry.add_op(op)
    return registry


@pytest.mark.parametrize("op", ALL, ids=lambda op: op.name)
def test_definition_is_sound(op: Op) -> None:
    assert problems(op) == []


def composed(op: Op, registry: Registry) -> Kernel:
    """An op's composition out of the references of its parts, as a kernel."""
    pins = dict.fromkeys(registry.ops, "reference")

    def build(target: Target, **bound: object) -> Function:
        return Binder(registry, target, Policy(pins=pins)).bind(op, **bound)

    return Kernel(op, "composition", build, Requires("cpu"), lambda bound: None)


@pytest.mark.parametrize("op", FUSED, ids=lambda op: op.name)
def test_composition_equals_reference(op: Op, registry: Registry) -> None:
    assert list(kernel_failures(composed(op, registry))) == []


def test_the_fused_ops_are_those_with_a_composition() -> None:
    fused = {
        "decode_step",
        "decode_tokens",
        "add_rms_norm",
        "gate_up_silu",
        "linear_add_rms_norm",
        "linear_norm_gate_up_silu",
        "linear_norm_qkv_rope_write",
        "norm_gate_up_silu",
        "qkv_rope_write",
        "norm_qkv_rope_write",
    }
    assert {op.name for op in FUSED} == fused


@pytest.mark.parametrize("op", ALL, ids=lambda op: op.name)
def test_docstring_says_what_and_in_which_shapes(op: Op) -> None:
    summary, rest = (inspect.getdoc(op.reference) or "").split("\n", 1)
    assert summary.endswith((".", ":", ",", ")")) or rest.strip()
    assert "[" in rest, "shapes are missing"


@pytest.mark.parametrize("op", ALL, ids=lambda op: op.name)
def test_cases_are_the_same_every_time_and_in_every_dtype(op: Op) -> None:
    names = [case.name for case in op.make_cases(torch.float32, CPU)]
    assert names == [case.name for case in op.make_cases(torch.bfloat16, CPU)]
    for one, other in zip(op.make_cases(torch.float16, CPU), op.make_cases(torch.float16, CPU), strict=True):
        for (_, a), (_, b) in zip(tensors(one.flow, ""), tensors(other.flow, ""), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("op", ALL, ids=lambda op: op.name)
def test_cases_have_no_rows_and_decode_rows(op: Op) -> None:
    cases = list(op.make_cases(torch.float32, CPU))
    assert any(case.decode for case in cases)
    carried = 1 if op is ops.lm_head else 0
    assert any(len(case.flow[carried]) == 0 for case in cases)


def test_every_op_in_the_package_is_exported() -> None:
    defined = {name for name in dir(ops) if isinstance(getattr(ops, name), Op)}
    assert defined == set(ops.__all__) == {op.name for op in ALL}
