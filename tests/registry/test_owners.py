"""Which op's kernel a frame runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, Binder, Policy, Registry, Requires, Target, op
from rustinfer.registry.owners import told_by

TOLD: list[str | None] = []


@op()
def doubled(x: Tensor, *, by: float) -> Tensor:
    """Twice as much."""
    return x * 2 * by


def look() -> None:
    TOLD.append(told_by(sys._getframe(2)))


def built(target: Target, *, by: float) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        return seen(x)

    return call


def seen(x: Tensor) -> Tensor:
    look()
    return x


class Called:
    def __call__(self, x: Tensor) -> Tensor:
        return seen(x)


@pytest.mark.parametrize("form", ["plain", "built", "object"])
def test_a_kernel_is_known_in_every_form(form: str) -> None:
    acme = Backend("acme", requires=Requires("cpu"))
    if form == "plain":

        @acme.kernel(doubled)
        def plain(x: Tensor, *, by: float) -> Tensor:
            return seen(x)

    else:
        made: Any = built if form == "built" else lambda target, *, by: Called()
        acme.kernel(doubled, build=True)(made)
    registry = Registry()
    registry.add_op(doubled, "ops")
    registry.add_backend(acme, "acme-kernels")
    binder = Binder(registry, Target.of("cpu", torch.float32), Policy(prefer=("acme",)))
    call = binder.bind(doubled, by=1.0)
    TOLD.clear()
    call(torch.zeros(3, 4))
    assert TOLD == ["in doubled by the back end acme (acme-kernels) with x [3, 4] float32"]


def test_what_wraps_a_kernel_speaks_for_it_and_a_reference_for_itself() -> None:
    def counted(x: Tensor) -> Tensor:
        return seen(x)

    registry = Registry()
    registry.add_op(doubled, "our-ops")
    binder = Binder(registry, Target.of("cpu", torch.float32), wrap=lambda binding: counted)
    TOLD.clear()
    binder.bind(doubled, by=1.0)(torch.zeros(2))
    assert TOLD == ["in doubled by the back end reference (our-ops) with x [2] float32"]


def test_other_code_is_nobodys() -> None:
    assert told_by(sys._getframe()) is None


def test_a_kernel_that_is_no_python_has_no_frame_to_be_known_by() -> None:
    acme = Backend("acme", requires=Requires("cpu"))
    acme.kernel(doubled, build=True)(lambda target, *, by: torch.neg)
    registry = Registry()
    registry.add([doubled], [acme], {}, "acme-kernels")
    binder = Binder(registry, Target.of("cpu", torch.float32), Policy(prefer=("acme",)))
    assert binder.bind(doubled, by=1.0)(torch.ones(1)) == -1
