"""Kernels that raise while the model runs: F23."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, Binder, Guard, Policy, Requires
from rustinfer.registry.guard import MOST, KernelRaised

from .toys import CPU, clear, registry, scale, twice

X = torch.ones(2)


class Toy:
    """A back end whose kernels raise `error` while there is one."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0
        self.backend = Backend("toy", requires=Requires("cpu"))

        @self.backend.kernel(scale)
        def kernel(x: Tensor, *, weight: Tensor, bias: float = 0.0) -> Tensor:
            self.raise_if_told()
            return x * weight + bias + 1000

        @self.backend.kernel(clear)
        def other(x: Tensor) -> None:
            self.raise_if_told()
            x.zero_()

    def raise_if_told(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error

    def binder(self, guard: Guard | None = None, **policy: Any) -> Binder:
        return Binder(registry(self.backend), CPU, Policy(**{"prefer": ("toy",), **policy}), guard=guard)


@pytest.fixture
def toy() -> Toy:
    return Toy()


def bound(binder: Binder, site: str = "layers.3") -> Callable[[Tensor], Tensor]:
    binder.site = site
    call: Callable[[Tensor], Tensor] = binder.scale(weight=2.0)
    return call


def test_the_reference_stands_in_and_the_third_time_for_good(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    binder = toy.binder()
    call, elsewhere = bound(binder), bound(binder, "layers.4")
    assert call(X).tolist() == [1002.0, 1002.0]
    toy.error = ZeroDivisionError("as told\nand more")
    assert [each(X).tolist() for each in (call, elsewhere)] == [[2.0, 2.0]] * 2
    assert [(f.op, f.backend, f.plugin, f.count) for f in binder.guard.failures] == [("scale", "toy", "toys", 2)]
    assert [binder.guard.now(b).backend for b in binder.bindings] == ["toy", "toy"]
    assert call(X).tolist() == [2.0, 2.0]
    toy.error, calls = None, toy.calls
    assert [each(X).tolist() for each in (call, elsewhere)] == [[2.0, 2.0]] * 2
    assert toy.calls == calls  # it is not asked any more
    for binding in map(binder.guard.now, binder.bindings):
        why = "raised 3 times, the last time ZeroDivisionError: disabled"
        assert (binding.backend, binding.rejected[-1]) == ("reference", ("toy", why))
    whose = "scale by back end toy of plugin toys"
    assert caplog.messages == [
        f"{whose} raised at layers.3: ZeroDivisionError: as told; its reference ran instead",
        f"{whose} has raised {MOST} times: the reference runs in its place from now on",
    ]


def whole(error: BaseException | None = None) -> Backend:
    """A back end whose kernel for the fused op raises, if told so."""
    made = Backend("whole", requires=Requires("cpu"))

    @made.kernel(twice)
    def kernel(x: Tensor, *, weight: Tensor) -> Tensor:
        if error is not None:
            raise error
        return x * weight * weight + 5

    return made


@pytest.mark.parametrize("invariant", [False, True])
def test_a_fused_op_falls_back_to_the_kernels_of_its_parts(
    toy: Toy, invariant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twice, "batch_invariant", False)  # as the reference: its parts are judged one by one
    monkeypatch.setattr("rustinfer.registry.backend.Kernel.refusal", lambda *_: None)
    made = registry(toy.backend, whole(ValueError("no")))
    binder = Binder(made, replace(CPU, invariant=invariant), Policy(prefer=("whole", "toy")))
    pinned = Binder(made, CPU, Policy(prefer=("whole", "toy"), pins={"twice": "reference"}))
    binder.site = "layers.3"
    call, binder.site = binder.twice(weight=2.0), "elsewhere"
    assert toy.calls == 0
    assert [binding.op.name for binding in binder.bindings] == ["twice"]  # no part is bound before it must be
    for _ in range(MOST + 1):
        assert call(X).tolist() == pinned.twice(weight=2.0)(X).tolist() == [3004.0, 3004.0]
    assert binder.site == "elsewhere"
    assert [(b.op.name, b.backend, b.site) for b in map(binder.guard.now, binder.bindings)] == [
        ("twice", "reference", "layers.3"),
        ("scale", "toy", "layers.3"),
    ]
    toy.error = ValueError("no, too")
    assert call(X).tolist() == [4.0, 4.0]  # its parts have what stands in for them, too


def test_what_is_disabled_is_bound_no_more(toy: Toy) -> None:
    guard, toy.error = Guard(), ValueError("no")
    call = bound(toy.binder(guard))
    for _ in range(MOST):
        call(X)
    again = toy.binder(guard)
    bound(again)
    assert again.bindings[0].backend == "reference"
    assert again.bindings[0].rejected[0] == ("toy", "raised 3 times, the last time ValueError: disabled")


@pytest.mark.parametrize("policy", [{"pins": {"scale": "toy"}}, {"strict": True}])
def test_an_order_is_not_softened(toy: Toy, policy: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    binder = toy.binder(**policy)
    call, toy.error = bound(binder), ZeroDivisionError("as told")
    for _ in range(MOST + 2):
        with pytest.raises(ZeroDivisionError):
            call(X)
    assert binder.guard.failures[0].count == MOST + 2
    assert binder.guard.now(binder.bindings[0]).backend == "toy"
    assert len(caplog.messages) == 1
    assert f"--{next(iter(policy))[:3]}" in caplog.messages[0]  # --pin or --strict
    toy.error = None
    assert call(X).tolist() == [1002.0, 1002.0]


def test_a_kernel_that_writes_to_its_arguments_is_not_tried_again_but_disabled(toy: Toy) -> None:
    binder = toy.binder()
    call, toy.error = binder.clear(), ZeroDivisionError("half-way")
    for _ in range(MOST):
        with pytest.raises(ZeroDivisionError):
            call(X.clone())
    x = X.clone()
    call(x)
    assert x.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("policy", [{}, {"pins": {"scale": "toy"}}])
def test_exit_is_contained(toy: Toy, policy: dict[str, Any]) -> None:
    call, toy.error = bound(toy.binder(**policy)), SystemExit(0)
    if not policy:
        assert call(X).tolist() == [2.0, 2.0]
        return
    with pytest.raises(KernelRaised, match="scale by back end toy of plugin toys: SystemExit: 0"):
        call(X)


def test_exit_is_contained_where_the_reference_cannot_take_the_arguments_either(toy: Toy) -> None:
    call, toy.error = bound(toy.binder()), SystemExit(0)
    with pytest.raises(KernelRaised, match="SystemExit: 0"):
        call(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA error: an illegal memory access"), KeyboardInterrupt()]
)
def test_what_is_no_fault_of_the_kernel_passes(toy: Toy, error: BaseException) -> None:
    binder = toy.binder()
    call, toy.error = bound(binder), error
    with pytest.raises(type(error)):
        call(X)
    assert binder.guard.failures == []


def test_arguments_that_the_reference_cannot_take_either(toy: Toy) -> None:
    binder = toy.binder()
    call, toy.error = bound(binder), ValueError("three columns")
    with pytest.raises(ValueError, match="three columns"):
        call(None)  # type: ignore[arg-type]
    assert binder.guard.failures == []


def test_a_reference_that_raises_later_is_not_counted(toy: Toy) -> None:
    binder = toy.binder()
    call, toy.error = bound(binder), ValueError("no")
    for _ in range(MOST):
        call(X)
    with pytest.raises(TypeError):
        call(None)  # type: ignore[arg-type]
    assert binder.guard.failures[0].count == MOST


def test_a_wrapping_plugin_that_raises_leaves_what_it_wraps() -> None:
    def broken(x: Tensor) -> Tensor:
        raise LookupError("as told")

    binder = Binder(registry(), CPU, wrap=lambda binding: broken)
    assert bound(binder)(X).tolist() == [2.0, 2.0]
    assert binder.guard.failures[0].backend == "reference"


def test_deterministic_engines_take_no_reference_that_varies(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "batch_invariant", False)
    binder = toy.binder()
    binder.target = replace(CPU, invariant=True)
    monkeypatch.setattr("rustinfer.registry.backend.Kernel.refusal", lambda *_: None)
    call, toy.error = bound(binder), ValueError("no")
    with pytest.raises(ValueError, match="no"):
        call(X)
