from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from rustinfer.registry import FP8, INT4, INT8, Format, PackedWeight, dense, join, shared


def int4(rows: int = 3, columns: int = 8, group: int = 4, zeros: bool = True) -> tuple[PackedWeight, Tensor]:
    """A random packed weight and what it must dequantise to, computed element by element."""
    torch.manual_seed(0)
    q = torch.randint(0, 16, (rows, columns))
    scales, offsets = torch.rand(rows, columns // group), torch.rand(rows, columns // group)
    data = torch.zeros(rows, columns // 2, dtype=torch.uint8)
    want = torch.zeros(rows, columns)
    for r in range(rows):
        for c in range(columns):
            g, j = divmod(c, group)
            high = j >= group // 2
            data[r, g * group // 2 + j % (group // 2)] += int(q[r, c]) << (4 if high else 0)
            want[r, c] = q[r, c] * scales[r, g] + (offsets[r, g] if zeros else 0)
    packed = PackedWeight(
        INT4, data, scales, offsets if zeros else None, group, torch.Size((rows, columns)), torch.float32
    )
    return packed, want


@pytest.mark.parametrize("zeros", [True, False])
def test_int4_dequantises_as_documented(zeros: bool) -> None:
    packed, want = int4(zeros=zeros)
    torch.testing.assert_close(packed.dequantise(), want)
    assert packed.astype(torch.bfloat16).dequantise().dtype is torch.bfloat16
    assert packed.nbytes == packed.data.nbytes + packed.scales.nbytes * (2 if zeros else 1)
    assert packed.device.type == "cpu"


@pytest.mark.parametrize("format", [INT8, FP8])
def test_8_bit_formats(format: Format) -> None:
    q = torch.tensor([[1, -2, 3, -4]]).to(torch.int8 if format is INT8 else torch.float8_e4m3fn)
    packed = PackedWeight(format, q, torch.tensor([[2.0, 0.5]]), None, 2, torch.Size((1, 4)), torch.float32)
    assert packed.dequantise().tolist() == [[2.0, -4.0, 1.5, -2.0]]


@pytest.mark.parametrize("zeros", [True, False])
def test_rows_and_moves_keep_the_values(zeros: bool) -> None:
    packed, want = int4(zeros=zeros)
    torch.testing.assert_close(packed.rows(torch.tensor([2, 0])).dequantise(), want[[2, 0]])
    assert packed.rows(slice(1, 3)).shape == (2, 8)
    torch.testing.assert_close(packed.to("cpu").dequantise(), want)


@pytest.mark.parametrize("zeros", [True, False])
def test_join_stays_packed_where_the_packing_is_one(zeros: bool) -> None:
    packed, want = int4(zeros=zeros)
    joined = join([packed, packed])
    assert isinstance(joined, PackedWeight)
    torch.testing.assert_close(joined.dequantise(), torch.cat([want, want]))


def test_join_falls_back_to_dense() -> None:
    packed, want = int4()
    mixed = join([packed, want])
    assert isinstance(mixed, Tensor)
    torch.testing.assert_close(mixed, torch.cat([want, want]))
    assert isinstance(join([packed, int4(zeros=False)[0]]), Tensor)
    torch.testing.assert_close(dense(join([want, packed])), torch.cat([want, want]))


def test_shared_forms_are_made_once_per_weight_and_key() -> None:
    weight, made = torch.ones(3), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [shared(weight, "a", make), shared(weight, "a", make), shared(weight, "b", make)] == [1, 1, 2]
    assert shared(torch.ones(3), "a", make) == 3
    del weight
    gc.collect()
