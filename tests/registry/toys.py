"""Small ops and back ends that the registry's tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Backend, Binder, Op, Policy, Registry, Requires, Target, op

CPU = Target(torch.device("cpu"), torch.float32)
CUDA = Target(torch.device("cuda"), torch.bfloat16, (9, 0))


@op()
def scale(x: Tensor, *, weight: Tensor, bias: float = 0.0) -> Tensor:
    """Multiply by weight, then add bias."""
    return x * weight + bias


@op(mutates=("x",))
def clear(x: Tensor) -> None:
    """Set to zero."""
    x.zero_()


@op()
def twice(x: Tensor, *, weight: Tensor) -> Tensor:
    """Scale two times over."""
    return scale(scale(x, weight=weight), weight=weight)


@twice.compose
def _twice(ops: Binder, *, weight: Tensor) -> Callable[[Tensor], Tensor]:
    once = ops.scale(weight=weight)
    return lambda x: once(once(x))


@op()
def fourfold(x: Tensor, *, weight: Tensor) -> Tensor:
    """Scale twice, two times over: fused of a fused op. Not in `registry()`."""
    return twice(twice(x, weight=weight), weight=weight)


@fourfold.compose
def _fourfold(ops: Binder, *, weight: Tensor) -> Callable[[Tensor], Tensor]:
    ops.site = "inside"
    both = ops.twice(weight=weight)
    return lambda x: both(both(x))


def backend(name: str = "toy", refusal: str | None = None, missing: str | None = None, device: str = "cpu") -> Backend:
    """A back end whose `scale` marks its result with 1000, and refuses as asked."""
    made = Backend(name, requires=Requires(device), available=lambda: missing)

    @made.kernel(scale, when=lambda bound: refusal)
    def kernel(x: Tensor, *, weight: Tensor, bias: float = 0.0) -> Tensor:
        return x * weight + bias + 1000

    return made


def registry(*backends: Backend) -> Registry:
    """The toy ops and the given back ends."""
    made = Registry()
    made.add([scale, clear, twice], list(backends), {}, "toys")
    return made


def binder(*backends: Backend, target: Target = CPU, wrap: Any = None, **policy: Any) -> Binder:
    """A binder over the toy ops."""
    given = {"wrap": wrap} if wrap else {}
    return Binder(registry(*backends), target, Policy(**policy), **given)


__all__ = ["CPU", "CUDA", "Op", "backend", "binder", "clear", "fourfold", "registry", "scale", "twice"]
