"""A well-behaved kernel of a small op, and the ways in which one can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Backend, Case, Kernel, Op, Requires, op


@op(mutates=("total",))
def accumulate(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Add x * weight to total at index; returns (x * weight, index + 1). x, total: [T, 4]; index: [T]."""
    product = (x.double() * weight.double()).to(x.dtype)
    total[index] = total[index] + product
    return product, index + 1


@accumulate.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    for name, rows in (("three", 3), ("none", 0)):
        index = torch.arange(rows, device=device).flip(0)
        yield Case(name, (normal(rows, 4), index, normal(5, 4)), {"weight": normal(4)}, decode=rows == 0)


def good(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product = x * weight
    total[index] += product
    return product, index + 1


def wrong_value(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    return product * 1.1, following


def wrong_integer(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    return good(x, index, total, weight=weight)[0], index


def wrong_dtype(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    return product.double(), following


def wrong_shape(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    return product.flatten(), following


def wrong_count(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> Tensor:
    return good(x, index, total, weight=weight)[0]


def not_finite(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    return product / 0, following


def mutates_input(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    x.mul_(2)
    return product, following


def mutates_bound(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    weight[0] = weight[0] * (1 + torch.finfo(weight.dtype).eps)
    return product, following


def forgets_to_mutate(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    return good(x, index, total.clone(), weight=weight)


def not_deterministic(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    product, following = good(x, index, total, weight=weight)
    return product + torch.rand_like(product) * torch.finfo(x.dtype).eps * 2, following


def raises(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    raise RuntimeError("out of luck")


# What is wrong, and words that must be in the complaint.
MISBEHAVIOURS: dict[str, tuple[Callable[..., Any], str]] = {
    fn.__name__: (fn, words)
    for fn, words in (
        (wrong_value, r"the result\[0\] is off by"),
        (wrong_integer, r"the result\[1\] differs: element 0 is 2, not 3"),
        (wrong_dtype, r"the result\[0\] has dtype float64, not"),
        (wrong_shape, r"the result\[0\] has shape \[12\], not \[3, 4\]"),
        (wrong_count, r"gave the result, total, not the result\[0\], the result\[1\], total"),
        (not_finite, r"the result\[0\] is not finite"),
        (mutates_input, "it writes to its input x"),
        (mutates_bound, "it writes to its bound argument weight"),
        (forgets_to_mutate, "total is off by"),
        (not_deterministic, r"the result\[0\] differs between two runs"),
        (raises, "out of luck"),
    )
}


def backend(fn: Callable[..., Any], name: str = "toy", **options: Any) -> Backend:
    """A back end for the CPU with one kernel of the toy op."""
    made = Backend(name, requires=Requires("cpu"))
    made.kernel(accumulate, **options)(fn)
    return made


def kernel(fn: Callable[..., Any], of: Op = accumulate, **options: Any) -> Kernel:
    """A kernel for the CPU."""
    made = Backend("toy", requires=Requires("cpu"))
    made.kernel(of, **options)(fn)
    return made.kernels[of.name]
