from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, Registry, Requires, Target, op
from rustinfer.testing.points import choose, points, select

from .toys import accumulate, backend, good, kernel

CPU = torch.device("cpu")


def test_every_case_in_every_dtype() -> None:
    assert [str(point) for point in points(backend(good))] == [
        f"toy-accumulate-{case}-{dtype}" for dtype in ("float32", "float16", "bfloat16") for case in ("three", "none")
    ]


def test_a_refused_point_says_why_and_cannot_be_tested() -> None:
    requires = Requires("cpu", frozenset({torch.float32}))
    found = list(points(backend(good, requires=requires)))
    assert [point.refusal() for point in found] == [None] * 2 + ["computes in float32, not in float16"] * 2 + [
        "computes in float32, not in bfloat16"
    ] * 2
    found[0].test()
    with pytest.raises(ValueError, match="is refused: computes in float32"):
        found[-1].test()


def test_when_sees_the_bound_arguments_with_defaults_and_the_target() -> None:
    seen: list[Mapping[str, Any]] = []

    def when(bound: Mapping[str, Any]) -> str | None:
        seen.append(bound)
        return "never"

    assert next(points(backend(good, when=when))).refusal() == "never"
    assert list(seen[0]) == ["weight", "target"]


def test_an_unavailable_back_end_refuses_everything() -> None:
    made = Backend("toy", requires=Requires("cpu"), available=lambda: "libtoy.so is missing")
    made.kernel(accumulate)(good)
    assert {point.refusal() for point in points(made)} == {"libtoy.so is missing"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_kernel_is_refused_without_a_gpu() -> None:
    assert next(points(backend(good, requires=Requires("cuda")))).refusal() == "there is no CUDA device here"


def test_an_op_without_cases_fails_rather_than_vanishes() -> None:
    @op()
    def bare(x: Tensor) -> Tensor:
        """Nothing."""
        return x

    made = Backend("toy", requires=Requires("cpu"))
    made.kernel(bare)(lambda x: x)
    with pytest.raises(LookupError, match="bare has no cases"):
        next(points(made)).refusal()


def test_the_widest_target_that_is_not_refused_is_chosen() -> None:
    target = Target(CPU, torch.float32)
    three, none = accumulate.make_cases(torch.float32, CPU)
    assert choose(kernel(good), three, target) == target
    assert choose(kernel(good), none, target) == target.decoding(1)
    few = kernel(good, requires=Requires("cpu", max_rows=3))
    assert choose(few, three, target) == Target(CPU, torch.float32, rows=3)
    fewer = kernel(good, requires=Requires("cpu", max_rows=2))
    assert choose(fewer, three, target) == "takes at most 2 rows, the binding asks for any number"
    decode = kernel(good, requires=Requires("cpu", decode=True))
    assert choose(decode, three, target) == "takes one row per sequence, the binding is for mixed steps"
    assert choose(decode, none, target) == target.decoding(1)


def test_select_names_what_is_installed() -> None:
    registry = Registry()
    with pytest.raises(LookupError, match="no back end is installed"):
        select(registry, [])
    registry.add_backend(backend(good, "a"))
    registry.add_backend(backend(good, "b"))
    assert [b.name for b in select(registry, [])] == ["a", "b"]
    assert [b.name for b in select(registry, ["b", "b"])] == ["b"]
    with pytest.raises(LookupError, match="--backend c: no such back end; installed: a, b"):
        select(registry, ["a", "c"])
