from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from rustinfer.models import gguf_blocks
from rustinfer.models.gguf import GgufFile, GgufTensor
from rustinfer.models.gguf_blocks import read_tensor
from rustinfer.registry import INT4, INT8, PackedWeight, dense

ROWS, COLUMNS = 6, 512
FORMATS = {"Q4_0": INT4, "Q4_1": INT4, "Q5_0": INT8, "Q5_1": INT8, "Q8_0": INT8}
DENSE = ["F32", "F16", "BF16", "Q4_K", "Q5_K", "Q6_K"]


def stored(path: Path, kind: str) -> tuple[GgufFile, GgufTensor, torch.Tensor]:
    """A file with one tensor of a type, and the tensor's values in float32 by the gguf package."""
    of = gguf.GGMLQuantizationType[kind]
    dice = np.random.default_rng(3)
    if kind.endswith("_K"):  # the package cannot make these: random blocks with bearable scales
        elements, size = gguf.GGML_QUANT_SIZES[of]
        data = dice.integers(0, 256, (ROWS, COLUMNS // elements, size), dtype=np.uint8)
        at = size - 2 if kind == "Q6_K" else 0
        halves = 2 if kind == "Q6_K" else 4
        data[..., at : at + halves] = (
            dice.uniform(-1, 1, (*data.shape[:2], halves // 2)).astype(np.float16).view(np.uint8)
        )
        data = data.reshape(ROWS, -1)
    else:
        values = (dice.standard_normal((ROWS, COLUMNS)) * dice.choice([1e-3, 1, 30], (ROWS, 1))).astype(np.float32)
        values[1] = 0
        data = values if kind == "F32" else gguf.quants.quantize(values, of)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("t", data, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(path)
    return file, file.tensors["t"], torch.from_numpy(gguf.quants.dequantize(data, of).reshape(ROWS, COLUMNS))


@pytest.mark.parametrize("kind", FORMATS)
def test_packed_formats_keep_exactly_their_values(tmp_path: Path, kind: str) -> None:
    file, tensor, expected = stored(tmp_path / "t.gguf", kind)
    weight = read_tensor(file, tensor, torch.float32)
    assert isinstance(weight, PackedWeight)
    assert (weight.format, weight.group, tuple(weight.shape)) == (FORMATS[kind], 32, (ROWS, COLUMNS))
    assert (weight.zeros is None) == (kind in ("Q5_0", "Q8_0"))
    assert torch.equal(weight.dequantise(), expected)
    assert weight.nbytes < ROWS * COLUMNS * 1.2
    half = read_tensor(file, tensor, torch.bfloat16)
    assert torch.equal(dense(half), expected.bfloat16())


def test_a_huge_scale_does_not_overflow(tmp_path: Path) -> None:
    file, tensor, _ = stored(tmp_path / "t.gguf", "Q4_0")
    data = bytearray(file.path.read_bytes())
    data[tensor.start : tensor.start + 2] = np.float16(60000).tobytes()
    file.path.write_bytes(data)
    file = GgufFile(file.path)
    weight = read_tensor(file, file.tensors["t"], torch.float32)
    expected = gguf.quants.dequantize(gguf.GGUFReader(file.path).tensors[0].data, gguf.GGMLQuantizationType.Q4_0)
    assert torch.equal(dense(weight), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("kind", DENSE)
def test_other_formats_become_dense_a_part_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_blocks, "_AT_ONCE", 4 * COLUMNS)
    file, tensor, expected = stored(tmp_path / "t.gguf", kind)
    for dtype in (torch.float32, torch.bfloat16):
        weight = read_tensor(file, tensor, dtype)
        assert isinstance(weight, torch.Tensor)
        assert torch.equal(weight, expected.to(dtype))
        weight.zero_()  # its own memory, not the file's


@pytest.mark.parametrize("kind", ["F32", "Q4_0", "Q4_1", "Q6_K"])
def test_rows_come_in_the_order_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    file, tensor, expected = stored(tmp_path / "t.gguf", kind)
    order = np.array([5, 0, 3, 1, 2, 4])
    assert torch.equal(dense(read_tensor(file, tensor, torch.float32, order)), expected[torch.from_numpy(order)])
