"""A kernel that claims its rows to be independent is caught where they are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, Case, Requires, Target, op
from rustinfer.testing.invariance import check_rows, parts
from rustinfer.testing.judge import NonconformingError

CPU = torch.device("cpu")


@op(rows=("x",), mutates=("total",))
def scaled(x: Tensor, total: Tensor, *, weight: Tensor) -> Tensor:
    """x * weight, counted in total."""
    total += len(x)
    return x * weight


def kernel(fn: Callable[..., Tensor], claims: bool = True) -> Backend:
    backend = Backend("toy", requires=Requires("cpu"))
    backend.kernel(scaled, batch_invariant=claims)(fn)
    return backend


def honest(x: Tensor, total: Tensor, *, weight: Tensor) -> Tensor:
    total += len(x)
    return x * weight


def neighbourly(x: Tensor, total: Tensor, *, weight: Tensor) -> Tensor:
    total += len(x)
    return x * weight + (1e-7 if len(x) > 1 else 0)


def forgetful(x: Tensor, total: Tensor, *, weight: Tensor) -> Tensor:
    total += 1
    return x * weight


def case(rows: int) -> Case:
    return Case("rows", (torch.ones(rows, 3), torch.zeros(1)), {"weight": torch.ones(3)})


@pytest.mark.parametrize("rows", [2, 24, 25, 100])
def test_the_honest_pass(rows: int) -> None:
    check_rows(kernel(honest).kernels["scaled"], case(rows), Target.of("cpu", torch.float32))


@pytest.mark.parametrize("fn", [neighbourly, forgetful])
@pytest.mark.parametrize("rows", [2, 100])
def test_the_others_do_not(fn: Callable[..., Tensor], rows: int) -> None:
    with pytest.raises(NonconformingError, match="depends on how many rows"):
        check_rows(kernel(fn).kernels["scaled"], case(rows), Target.of("cpu", torch.float32))


def test_one_that_claims_nothing_is_not_asked() -> None:
    check_rows(kernel(neighbourly, claims=False).kernels["scaled"], case(5), Target.of("cpu", torch.float32))


@pytest.mark.parametrize("count", [1, 2, 24, 25, 26, 300])
def test_parts_cover_every_row_once(count: int) -> None:
    assert [row for part in parts(count) for row in range(count)[part]] == list(range(count))
