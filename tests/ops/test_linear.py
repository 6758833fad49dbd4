from __future__ import annotations

import pytest
import torch

from rustinfer import ops
from rustinfer.registry import INT4, INT8, PackedWeight


def test_linear_by_hand() -> None:
    x, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]])
    assert ops.linear(x, weight=weight).tolist() == [[11.0, 17.0, 2.0]]
    assert ops.linear(x, weight=weight, bias=torch.tensor([0.5, 0.0, -1.0])).tolist() == [[11.5, 17.0, 1.0]]


def test_linear_reads_int4_by_groups_low_nibbles_first() -> None:
    # One row of two groups of 4: group 0 holds 1 2 3 4, group 1 holds 5 6 7 8; value = 2 q + 10, then 0.5 q - 1.
    data = torch.tensor([[1 | 3 << 4, 2 | 4 << 4, 5 | 7 << 4, 6 | 8 << 4]], dtype=torch.uint8)
    scales, zeros = torch.tensor([[2.0, 0.5]]).half(), torch.tensor([[10.0, -1.0]]).half()
    weight = PackedWeight(INT4, data, scales, zeros, 4, torch.Size((1, 8)), torch.float32)
    values = [12.0, 14.0, 16.0, 18.0, 1.5, 2.0, 2.5, 3.0]
    assert ops.linear(torch.eye(8), weight=weight).flatten().tolist() == values


def test_linear_reads_int8_with_one_scale_a_row() -> None:
    data, scales = torch.tensor([[-127, 0, 5], [1, 2, 3]], dtype=torch.int8), torch.tensor([[0.5], [2.0]]).half()
    weight = PackedWeight(INT8, data, scales, None, 3, torch.Size((2, 3)), torch.float32)
    assert ops.linear(torch.eye(3), weight=weight).T.tolist() == [[-63.5, 0.0, 2.5], [2.0, 4.0, 6.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lm_head_gives_fp32_logits_of_the_selected_rows(dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(5, 64).to(dtype), torch.randn(33, 64).to(dtype)
    logits = ops.lm_head(hidden, torch.tensor([4, 1]), weight=weight)
    assert (logits.dtype, logits.shape) == (torch.float32, (2, 33))
    exact = hidden[[4, 1]].double() @ weight.double().T
    torch.testing.assert_close(logits.double(), exact, atol=1e-4, rtol=1e-5)


def test_lm_head_of_no_rows() -> None:
    logits = ops.lm_head(torch.randn(5, 8), torch.zeros(0, dtype=torch.int64), weight=torch.randn(7, 8))
    assert logits.shape == (0, 7)
