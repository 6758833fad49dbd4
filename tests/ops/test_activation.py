from __future__ import annotations

import math

import pytest
import torch

from rustinfer import ops
from rustinfer.registry import Op


def test_silu_mul_by_hand() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    expected = [1 / (1 + math.exp(-1)) * 3, -2 / (1 + math.exp(2)) * 5]
    assert ops.silu_mul(x)[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_gelu_mul_by_hand() -> None:
    def gelu(x: float) -> float:
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    assert ops.gelu_mul(x)[0].tolist() == pytest.approx([gelu(1.0) * 3, gelu(-2.0) * 5], rel=1e-5)


@pytest.mark.parametrize("op", [ops.silu_mul, ops.gelu_mul])
def test_the_result_is_rounded_once(op: Op) -> None:
    x = torch.randn(4, 64).bfloat16()
    assert torch.equal(op(x), op(x.double()).bfloat16())


@pytest.mark.parametrize("op", [ops.silu_mul, ops.gelu_mul])
def test_large_gates_stay_finite(op: Op) -> None:
    x = torch.tensor([[-1e4, 1e4, 1.0, 1.0]])
    assert op(x).tolist() == [[0.0, 1e4]]
