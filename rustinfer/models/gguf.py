"""Reads the GGUF container: a table of metadata and a list of tensors, whose bytes stay in the file.

Nothing in the file is believed: counts, sizes and offsets are checked, in Python's unbounded integers, against the
file's size before anything is allocated.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError

# type number -> (name, elements in a block, bytes of a block)
BLOCKS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}
_UNREAD = {9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 20: "IQ4_NL", 23: "IQ4_XS", 39: "MXFP4"}
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LENGTH = Struct("<Q")


@dataclass(frozen=True)
class GgufTensor:
    """A tensor's place: `type` is its block format, `shape` has rows first, `start` counts from the file's start."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    nbytes: int
    block: tuple[int, int]  # elements, bytes


class GgufFile:
    """An open GGUF file. Raises CheckpointError, in one line that names the file, for whatever is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        cursor = _Cursor(self._map, path)
        tensors, fields = cursor.begin()
        self.metadata = cursor.metadata(fields)
        entries = [cursor.tensor() for _ in range(tensors)]
        self.tensors = self._placed(entries, cursor.at)

    def blocks(self, tensor: GgufTensor) -> NDArray[np.uint8]:
        """A tensor's bytes as uint8 [rows, blocks in a row, bytes of a block], read-only and not copied."""
        elements, size = tensor.block
        flat = np.frombuffer(self._map, np.uint8, tensor.nbytes, tensor.start)
        return flat.reshape(prod(tensor.shape[:-1]), tensor.shape[-1] // elements, size)

    def _placed(self, entries: list[tuple[str, int, tuple[int, ...], int]], end: int) -> dict[str, GgufTensor]:
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise CheckpointError(f"{self.path}: general.alignment is {alignment!r}")
        base = -(-end // alignment) * alignment
        placed: dict[str, GgufTensor] = {}
        for name, kind, shape, offset in entries:
            if name in placed:
                raise CheckpointError(f"{self.path}: tensor {name} is there twice")
            placed[name] = self._place(name, kind, shape, base + offset)
            if offset % alignment:
                raise CheckpointError(f"{self.path}: tensor {name} is not aligned to {alignment} bytes")
        ordered = sorted(placed.values(), key=lambda tensor: tensor.start)
        for first, second in pairwise(ordered):
            if first.start + first.nbytes > second.start:
                raise CheckpointError(f"{self.path}: tensors {first.name} and {second.name} overlap")
        return placed

    def _place(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> GgufTensor:
        if kind not in BLOCKS:
            known = ", ".join(block[0] for block in BLOCKS.values())
            found = _UNREAD.get(kind, kind)
            raise CheckpointError(
                f"{self.path}: tensor {name} is of type {found}, which is not read; use one of {known}"
            )
        label, elements, size = BLOCKS[kind]
        if shape[-1] % elements:
            raise CheckpointError(f"{self.path}: tensor {name} has rows of {shape[-1]}, no multiple of {elements}")
        nbytes = prod(shape) // elements * size
        if start + nbytes > len(self._map):
            raise CheckpointError(
                f"{self.path}: the file is truncated: tensor {name} ends at byte {start + nbytes} of {len(self._map)}"
            )
        return GgufTensor(name, label, shape, start, nbytes, (elements, size))


class _Cursor:
    """Walks through the head of a file and stops with an error where the file ends or cannot be."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0

    def begin(self) -> tuple[int, int]:
        """How many tensors and metadata fields follow."""
        if self.data[:4] != b"GGUF":
            raise CheckpointError(f"{self.path}: not a GGUF file")
        self.at = 4
        version = self.number("<I")
        if version not in (2, 3):
            big = version & 0xFFFF == 0
            raise CheckpointError(
                f"{self.path}: GGUF version {'is big-endian' if big else version}, only 2 and 3 are read"
            )
        return self.count("tensor", 24), self.count("metadata field", 13)

    def metadata(self, fields: int) -> dict[str, Any]:
        """The table of metadata."""
        table: dict[str, Any] = {}
        for _ in range(fields):
            key = self.string()
            table[key] = self.value(key, self.number("<I"))
        return table

    def tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        """The next tensor's name, type number, shape with rows first, and offset."""
        name = self.string()
        dims = self.number("<I")
        if not 1 <= dims <= 4:
            raise CheckpointError(f"{self.path}: tensor {name[:80]!r} has {dims} dimensions")
        shape = tuple(self.number("<Q") for _ in range(dims))[::-1]
        if not all(0 < size < 1 << 40 for size in shape):
            raise CheckpointError(f"{self.path}: tensor {name[:80]!r} has shape {shape}")
        return name, self.number("<I"), shape, self.number("<Q")

    def value(self, key: str, kind: int, depth: int = 0) -> Any:
        """A metadata value of a type number."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 1:
            raise CheckpointError(f"{self.path}: metadata {key[:80]!r} is of an unknown type {kind}")
        item = self.number("<I")
        if item in _SCALARS:
            return self.numbers(_SCALARS[item], self.count("array element", Struct(_SCALARS[item]).size))
        return [self.value(key, item, depth + 1) for _ in range(self.count("array element", 8))]

    def number(self, form: str) -> Any:
        """One number."""
        return Struct(form).unpack(self._take(Struct(form).size))[0]

    def numbers(self, form: str, count: int) -> list[Any]:
        """An array of numbers."""
        return list(Struct(f"<{count}{form[1]}").unpack(self._take(count * Struct(form).size)))

    def string(self) -> str:
        """A string with its length before it."""
        (length,) = _LENGTH.unpack(self._take(8))
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.path}: a name before byte {self.at} is not UTF-8") from None

    def count(self, what: str, size: int) -> int:
        """How many of something follow, of which each takes at least `size` bytes."""
        count: int = self.number("<Q")
        if count * size > len(self.data) - self.at:
            raise CheckpointError(f"{self.path}: truncated or corrupt: it claims {count} {what}s")
        return count

    def _take(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise CheckpointError(f"{self.path}: truncated or corrupt: it ends inside of its header")
        self.at += length
        return self.data[self.at - length : self.at]
