from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Case, Target, Tolerance, op
from rustinfer.testing.judge import Judge, NonconformingError, floor, largest, outputs

CPU = torch.device("cpu")


def judge(plain: list[float], gold: list[float], *, slack: float = 2.0, floor: float = 0.0) -> Judge:
    return Judge({"y": torch.tensor(plain)}, {"y": torch.tensor(gold, dtype=torch.float64)}, slack, floor)


def test_twice_the_references_own_error_is_allowed_and_no_more() -> None:
    ours = judge([1.0, 2.25], [1.0, 2.0])
    ours.require({"y": torch.tensor([1.5, 2.0])})
    with pytest.raises(NonconformingError, match=r"off by 5\.1\de-01, more than 5\.00e-01"):
        ours.require({"y": torch.tensor([1.51, 2.0])})


def test_the_floor_is_a_part_of_the_largest_magnitude() -> None:
    ours = judge([1.0, 100.0], [1.0, 100.0], floor=0.01)
    ours.require({"y": torch.tensor([1.99, 100.0])})
    with pytest.raises(NonconformingError):
        ours.require({"y": torch.tensor([2.01, 100.0])})


def test_tiny_outputs_get_no_absolute_allowance() -> None:
    with pytest.raises(NonconformingError):
        judge([1e-6], [1e-6], floor=1e-5).require({"y": torch.zeros(1)})


def test_not_a_number_never_passes() -> None:
    with pytest.raises(NonconformingError, match="not finite"):
        judge([1.0], [1.0], floor=10).require({"y": torch.tensor([torch.nan])})


def test_the_least_precise_argument_sets_the_floor() -> None:
    @op(tolerance=Tolerance(floor={torch.float32: 1.0, torch.bfloat16: 3.0}))
    def f(*, eps: float = 0.0) -> Tensor:
        """Nothing."""
        return torch.zeros(0)

    def given(*dtypes: torch.dtype) -> float:
        flow = tuple(torch.zeros(1, dtype=dtype) for dtype in dtypes)
        return floor(f, Case("c", flow), Target(CPU, torch.bfloat16))

    assert given(torch.float32, torch.int64) == 1.0
    assert given(torch.float32, torch.bfloat16) == 3.0
    assert given(torch.int64) == 3.0
    assert given(torch.float64) == torch.finfo(torch.float64).eps


def test_outputs_are_results_and_what_the_op_writes_to() -> None:
    @op(mutates=("b",))
    def f(a: Tensor, b: Tensor) -> None:
        """Nothing."""

    a, b = torch.zeros(1), torch.ones(1)
    assert outputs(f, None, (a, b)) == {"b": b}
    assert list(outputs(f, a, (a, b))) == ["the result", "b"]
    assert list(outputs(f, (a, a), (a, b))) == ["the result[0]", "the result[1]", "b"]


def test_largest_of_nothing_is_zero() -> None:
    assert largest(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0
