from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rustinfer.models.errors import CheckpointError
from rustinfer.models.safetensors import DTYPES, SafetensorsFile


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    dtype = DTYPES[name]
    values = torch.arange(-6, 6).to(torch.float32) if dtype.is_floating_point else torch.arange(12)
    tensor = values.to(dtype).view(3, 4)
    save_file({"a": torch.ones(1, dtype=torch.uint8), "t": tensor}, tmp_path / "m.safetensors")
    read = SafetensorsFile(tmp_path / "m.safetensors").read("t")
    assert read.dtype == dtype
    assert torch.equal(read.view(torch.uint8), tensor.view(torch.uint8))


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(start: int, end: int, shape: Any = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


def test_data_at_odd_places_scalars_and_nothing(tmp_path: Path) -> None:
    header = {
        "odd": entry(0, 1),
        "f": entry(1, 9, [2], "F32"),
        "s": entry(9, 13, [], "F32"),
        "none": entry(13, 13, [0, 4]),
    }
    data = b"\x07" + torch.tensor([1.5, -2.0]).numpy().tobytes() + torch.tensor(3.0).numpy().tobytes()
    file = SafetensorsFile(write(tmp_path / "m.safetensors", header, data))
    assert file.read("f").tolist() == [1.5, -2.0]
    assert file.read("s").item() == 3.0
    assert file.read("none").shape == (0, 4)


BROKEN: dict[str, tuple[Any, bytes, int | None, str]] = {
    "header of 2**63": ({}, b"", 1 << 63, "claims a header of"),
    "header past the end": ({}, b"", 1000, "truncated: its header ends at byte 1008"),
    "not JSON": (b"{nope", b"", None, "header is not valid"),
    "not UTF-8": (b'{"\xff": 1}', b"", None, "header is not valid"),
    "a list": ([], b"", None, "not a table"),
    "deep": (b"[" * 100_000, b"", None, "header is not valid"),
    "a name of two lines": ({"t\nerror: \x1b[31m": 5}, b"x", None, r"tensor t error:  \[31m has no valid shape"),
    "twin names": (b'{"a": 1, "a": 2}', b"", None, "a name is there twice"),
    "no shape": ({"t": {"dtype": "U8", "data_offsets": [0, 1]}}, b"x", None, "t has no valid shape"),
    "not a table": ({"t": 5}, b"x", None, "t has no valid shape"),
    "negative": ({"t": entry(0, 4, [-2, -2])}, bytes(4), None, "t has no valid shape"),
    "true": ({"t": entry(0, 1, [True])}, bytes(1), None, "t has no valid shape"),
    "three offsets": (
        {"t": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}},
        bytes(4),
        None,
        "no valid shape",
    ),
    "unknown dtype": ({"t": entry(0, 4, dtype="F3")}, bytes(4), None, "unknown dtype 'F3'"),
    "dtype against shape": ({"t": entry(0, 4, [4], "F32")}, bytes(4), None, "has 4 bytes, not those of F32"),
    "reversed": ({"t": entry(4, 0, [4])}, bytes(4), None, "has -4 bytes"),
    "past the end": ({"t": entry(0, 8)}, bytes(4), None, "truncated: tensor t ends at byte 8 of 4"),
    "overlap": ({"t": entry(0, 4), "u": entry(2, 6)}, bytes(6), None, "u begins at byte 2 of the data, not at 4"),
    "gap": ({"t": entry(0, 2), "u": entry(4, 6)}, bytes(6), None, "u begins at byte 4"),
    "rest": ({"t": entry(0, 2)}, bytes(6), None, "4 bytes after the last tensor"),
    "overflow": ({"t": entry(0, 4, [1 << 61, 1 << 61])}, bytes(4), None, "not those of"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, case: str) -> None:
    header, data, length, message = BROKEN[case]
    path = write(tmp_path / "m.safetensors", header, data, length)
    with pytest.raises(CheckpointError, match=message) as error:
        SafetensorsFile(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(5), "b": torch.ones(3, 3)}, tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    for length in (0, 7, 8, head - 1, head, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors: "):
            SafetensorsFile(tmp_path / "cut.safetensors")


def test_a_missing_tensor_and_a_missing_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(5)}, tmp_path / "m.safetensors")
    with pytest.raises(KeyError, match="tensor b is missing"):
        SafetensorsFile(tmp_path / "m.safetensors").read("b")
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        SafetensorsFile(tmp_path / "n.safetensors")
