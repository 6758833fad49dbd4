from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, DefinitionError, Requires, Target

from .toys import CPU, CUDA, clear, scale


@pytest.mark.parametrize(
    ("requires", "target", "reason"),
    [
        (Requires("cuda"), CPU, "runs on cuda, not on cpu"),
        (Requires("cpu", frozenset({torch.bfloat16})), CPU, "computes in bfloat16, not in float32"),
        (Requires("cuda", min_sm=(10, 0)), CUDA, "needs compute capability 10.0 or newer, this is 9.0"),
        (Requires("cuda", max_sm=(8, 9)), CUDA, "needs compute capability 8.9 or older, this is 9.0"),
        (Requires("cpu", max_rows=8), CPU, "takes at most 8 rows, the binding asks for any number"),
        (Requires("cpu", max_rows=8), CPU.decoding(9), "takes at most 8 rows, the binding asks for up to 9"),
        (Requires("cpu", decode=True), CPU, "takes one row per sequence, the binding is for mixed steps"),
        (Requires("cpu", frozenset({torch.float32}), max_rows=8, decode=True), CPU.decoding(8), None),
        (Requires("cuda", min_sm=(9, 0), max_sm=(9, 0)), CUDA, None),
    ],
)
def test_requires_refuses_in_words(requires: Requires, target: Target, reason: str | None) -> None:
    assert requires.refusal(target) == reason


def test_a_kernel_asks_its_target_first_and_then_its_arguments() -> None:
    made = Backend("toy", requires=Requires("cpu"))

    @made.kernel(scale, when=lambda bound: "bias is not 0" if bound["bias"] else None)
    def kernel(x: Tensor, *, weight: Tensor, bias: float = 0.0) -> Tensor:
        return x * weight

    registered = made.kernels["scale"]
    assert registered.refusal(CUDA, {"bias": 1}) == "runs on cpu, not on cuda"
    assert registered.refusal(CPU, {"bias": 1}) == "bias is not 0"
    assert registered.refusal(CPU, {"bias": 0}) is None
    assert registered.build(CPU, weight=3, bias=0.0)(2) == 6


def test_a_kernel_may_refuse_by_target_and_arguments_together() -> None:
    made = Backend("toy", requires=Requires("cpu"))

    @made.kernel(scale, when=lambda b: "many biased rows" if b["bias"] and b["target"].rows is None else None)
    def kernel(x: Tensor, *, weight: Tensor, bias: float = 0.0) -> Tensor:
        return x * weight

    assert made.kernels["scale"].refusal(CPU, {"bias": 1}) == "many biased rows"
    assert made.kernels["scale"].refusal(CPU.decoding(4), {"bias": 1}) is None


def test_a_kernel_of_an_op_without_bound_arguments_is_called_as_it_is() -> None:
    made = Backend("toy", requires=Requires("cpu"))

    @made.kernel(clear, requires=replace(made.requires, max_rows=1))
    def kernel(x: Tensor) -> None:
        x.zero_()

    assert made.kernels["clear"].build(CPU) is kernel
    assert made.kernels["clear"].requires.max_rows == 1


def test_signatures_are_checked_at_registration() -> None:
    made = Backend("toy", requires=Requires("cpu"))
    with pytest.raises(DefinitionError, match="does not match op scale"):
        made.kernel(scale)(lambda x, *, weight: x)
    with pytest.raises(DefinitionError, match=r"must take \(target, \*, weight, bias\)"):
        made.kernel(scale, build=True)(lambda target, *, weight: None)
    with pytest.raises(DefinitionError, match=r"must take \(target\)"):
        made.kernel(clear, build=True)(lambda: None)


def test_a_builder_runs_once_at_bind() -> None:
    made = Backend("toy", requires=Requires("cpu"))
    seen = []

    @made.kernel(scale, build=True, capturable=False, deterministic=False)
    def build(target: Target, *, weight: Tensor, bias: float = 0.0) -> object:
        seen.append(target)
        return lambda x: x

    made.kernels["scale"].build(CPU, weight=1, bias=0)
    assert seen == [CPU]
    assert (made.kernels["scale"].capturable, made.kernels["scale"].deterministic) == (False, False)


def test_one_kernel_for_an_op_in_a_back_end() -> None:
    made = Backend("toy", requires=Requires("cpu"))
    made.kernel(clear)(lambda x: None)
    with pytest.raises(DefinitionError, match="already has a kernel for clear"):
        made.kernel(clear)(lambda x: None)
