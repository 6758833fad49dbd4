from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rustinfer import ops


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rms_norm_agrees_with_torch(dtype: torch.dtype) -> None:
    x, weight = torch.randn(5, 96), torch.rand(96)
    ours = ops.rms_norm(x.to(dtype), weight=weight.to(dtype), eps=1e-5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.float(), F.rms_norm(x, (96,), weight, 1e-5), atol=0.03, rtol=0.02)


def test_rms_norm_by_hand() -> None:
    x, weight = torch.tensor([[3.0, 4.0]]), torch.tensor([2.0, 1.0])
    root = (12.5 + 0.5) ** 0.5
    torch.testing.assert_close(ops.rms_norm(x, weight=weight, eps=0.5), torch.tensor([[6 / root, 4 / root]]))


def test_rms_norm_does_not_overflow_in_half_precision() -> None:
    x = torch.full((1, 8), 60000.0, dtype=torch.float16)
    assert torch.equal(ops.rms_norm(x, weight=torch.ones_like(x[0]), eps=1e-5), torch.ones_like(x))


def test_rms_norm_in_float64_is_computed_in_float64() -> None:
    x = torch.randn(3, 64, dtype=torch.float64)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    assert (ops.rms_norm(x, weight=torch.ones(64, dtype=torch.float64), eps=1e-5) - expected).abs().max() < 1e-14


def test_add_rms_norm_returns_the_new_residual() -> None:
    x, residual, weight = torch.randn(3, 16), torch.randn(3, 16), torch.rand(16)
    normed, total = ops.add_rms_norm(x, residual, weight=weight, eps=1e-5)
    assert torch.equal(total, x + residual)
    assert torch.equal(normed, ops.rms_norm(x + residual, weight=weight, eps=1e-5))
