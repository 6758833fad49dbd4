"""Reads safetensors files: a JSON header, then raw tensors that are mapped into memory and read when used.

The header is not believed: lengths, offsets, shapes and dtypes must agree with each other and with the file's size.
That is why this is not left to the package of the same name: it takes a name that is there twice, and says of most
other faults neither in which tensor they are nor what is wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, MissingTensorError
from .files import regular
from .transfer import Place

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}
_HEADER_LIMIT = 100_000_000
_MOST_COMMAS = 1 << 23  # eight a tensor; each may become an object of Python's, thirty times its size


@dataclass(frozen=True)
class Entry:
    """A tensor's place in the data after the header, in bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile:
    """One open file. Raises CheckpointError, in one line that names the file and the tensor, for what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = regular(path).stat().st_size
            with path.open("rb") as file:
                self._base = 8 + self._header_size(file.read(8), size)
                header = file.read(self._base - 8)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
        self.entries = _entries(header, size - self._base, path)
        self._data = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)

    def read(self, name: str) -> Tensor:
        """A tensor in the dtype of the file, on the CPU: a view of the mapped file where the alignment allows it."""
        if name not in self.entries:
            raise MissingTensorError(f"{self.path}: tensor {name} is missing")
        entry = self.entries[name]
        data = self._data[self._base + entry.start : self._base + entry.end]
        if data.storage_offset() % entry.dtype.itemsize:
            data = data.clone()
        return data.view(entry.dtype).view(entry.shape)

    def place(self, name: str) -> Place:
        """Where the bytes of a known tensor lie."""
        entry = self.entries[name]
        return Place(self.path, self._base + entry.start, entry.end - entry.start)

    def _header_size(self, prefix: bytes, size: int) -> int:
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8:
            raise CheckpointError(f"{self.path}: the file is truncated: it has {size} bytes")
        if length > _HEADER_LIMIT:
            raise CheckpointError(f"{self.path}: not a safetensors file: it claims a header of {length} bytes")
        if 8 + length > size:
            raise CheckpointError(f"{self.path}: the file is truncated: its header ends at byte {8 + length} of {size}")
        return length


def _entries(header: bytes, size: int, path: Path) -> dict[str, Entry]:
    if header.count(b",") > _MOST_COMMAS:
        raise CheckpointError(f"{path}: the header is not valid: it lists more than {_MOST_COMMAS // 8} tensors")
    try:
        table = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is not valid: {error}") from None
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: the header is not a table of tensors")
    table.pop("__metadata__", None)
    entries = {name: _entry(name, value, path) for name, value in table.items()}
    _check_places(entries, size, path)
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name is there twice")
    return table


def _entry(name: str, value: Any, path: Path) -> Entry:
    table: dict[str, Any] = value if isinstance(value, dict) else {}
    shape: Any = table.get("shape")
    places: Any = table.get("data_offsets")
    if not _naturals(shape) or not _naturals(places) or len(places) != 2:
        raise CheckpointError(f"{path}: tensor {name} has no valid shape and offsets")
    dtype = DTYPES.get(str(table.get("dtype")))
    if dtype is None:
        raise CheckpointError(f"{path}: tensor {name} is of an unknown dtype {str(table.get('dtype'))[:40]!r}")
    start, end = places
    if end - start != prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{path}: tensor {name} has {end - start} bytes, not those of {table['dtype']} {shape}")
    return Entry(dtype, tuple(shape), start, end)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _check_places(entries: dict[str, Entry], size: int, path: Path) -> None:
    """Tensors must follow each other without gaps or overlaps, up to the end of the file."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != at:
            raise CheckpointError(f"{path}: tensor {name} begins at byte {entry.start} of the data, not at {at}")
        at = entry.end
        if at > size:
            raise CheckpointError(f"{path}: the file is truncated: tensor {name} ends at byte {at} of {size}")
    if at != size:
        raise CheckpointError(f"{path}: {size - at} bytes after the last tensor belong to none")
