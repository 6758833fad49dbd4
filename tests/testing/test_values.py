from __future__ import annotations

import torch

from rustinfer.ops.inputs import Draw, strided
from rustinfer.registry import INT4
from rustinfer.testing.values import bits, copied, doubled, mapped, same_bytes, tensors

PACKED = Draw("packed", torch.bfloat16, torch.device("cpu")).packed(INT4, 4, 64, 32, zeros="free")


def test_copies_keep_strides_and_shared_storage() -> None:
    whole = torch.arange(12.0).view(2, 6)
    left, right = whole[:, :3], whole[:, 3:]
    a, b = copied((left, right))
    assert torch.equal(a, left)
    assert a.stride() == left.stride()
    assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr()


def test_a_copied_packed_weight_keeps_its_format() -> None:
    copy = copied({"weight": PACKED})["weight"]
    assert copy.format is INT4
    assert copy.data.data_ptr() != PACKED.data.data_ptr()
    assert torch.equal(copy.dequantise(), PACKED.dequantise())


def test_doubled_converts_floats_and_what_packed_weights_give() -> None:
    flow = doubled((torch.ones(1), torch.ones(1, dtype=torch.int64), PACKED, [3, None], {"a": torch.ones(1).half()}))
    assert [flow[0].dtype, flow[1].dtype, flow[2].dtype] == [torch.float64, torch.int64, torch.float64]
    assert flow[3] == [3, None]
    assert flow[4]["a"].dtype == torch.float64


def test_every_tensor_has_a_name() -> None:
    assert [name for name, _ in tensors(torch.ones(1), "x")] == ["x"]
    assert [name for name, _ in tensors((1, torch.ones(1), torch.ones(1)), "x")] == ["x[0]", "x[1]"]
    assert [name for name, _ in tensors(PACKED, "w")] == ["w[0]", "w[1]", "w[2]"]
    assert list(tensors(None, "x")) == []


def test_mapped_leaves_the_rest_alone() -> None:
    assert mapped({"a": [1, "b", (None,)]}, torch.neg) == {"a": [1, "b", (None,)]}


def test_same_bytes_sees_what_a_view_hides() -> None:
    view = strided(torch.ones(2, 3))
    other = copied(view)
    assert same_bytes(view, other)
    torch.as_strided(other, (1,), (1,), 4).zero_()
    assert torch.equal(view, other)
    assert not same_bytes(view, other)


def test_same_bytes_tells_nan_by_its_bits_and_zero_by_its_sign() -> None:
    nan = torch.tensor([torch.nan])
    assert same_bytes(nan, nan.clone())
    assert not same_bytes(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert same_bytes(torch.arange(6).view(2, 3), torch.arange(6).view(3, 2).T.reshape(3, 2).T) is False


def test_bits_are_the_elements_in_order() -> None:
    assert bits(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).T) == bytes([1, 3, 2, 4])
