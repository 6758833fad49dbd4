from __future__ import annotations

import pytest
import torch

from rustinfer.ops.inputs import Draw, strided
from rustinfer.ops.precision import wide
from rustinfer.registry import FP8, INT4, INT8, Format

CPU = torch.device("cpu")


def test_the_name_alone_decides_the_numbers() -> None:
    one, same, other = (Draw(name, torch.float32, CPU).normal(4, 5) for name in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_dtypes_share_their_numbers() -> None:
    precise, coarse = (Draw("a", dtype, CPU).normal(4, 5) for dtype in (torch.float32, torch.bfloat16))
    assert torch.equal(precise.bfloat16(), coarse)


def test_strided_keeps_the_numbers_and_widens_the_rows() -> None:
    x = torch.randn(3, 4)
    view = strided(x)
    assert torch.equal(view, x)
    assert (view.stride(), view.is_contiguous()) == ((12, 1), False)


@pytest.mark.parametrize(("kind", "zeros"), [(INT4, "centre"), (INT4, "free"), (INT8, ""), (INT8, "free"), (FP8, "")])
def test_packed_weights_have_the_magnitude_of_dense_ones(kind: Format, zeros: str) -> None:
    weight = Draw("a", torch.float32, CPU).packed(kind, 40, 256, 32, zeros=zeros)
    assert weight.shape == (40, 256)
    assert weight.dequantise().shape == (40, 256)
    assert 0.2 < weight.dequantise().pow(2).mean().sqrt() * 256**0.5 < 5


def test_wide_is_float32_unless_float64() -> None:
    assert wide(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert wide(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
