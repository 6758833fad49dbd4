"""Walks through the head of a GGUF file: metadata, then the list of tensors."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from struct import Struct
from typing import Any

from .errors import CheckpointError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LENGTH = Struct("<Q")
# Far above any real file's. A small file may claim a huge, sparse one's worth of entries.
_MOST_BYTES = 1 << 28
_MOST_ENTRIES = 1 << 16
_MOST_ELEMENTS = 1 << 24


class GgufHeader:
    """A place in the head of a file, which moves on as values are read. Raises CheckpointError where the file ends."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0
        self.end = min(len(data), _MOST_BYTES)
        self._elements = _MOST_ELEMENTS

    def begin(self) -> tuple[int, int]:
        """How many tensors and metadata fields follow."""
        if self.data[:4] != b"GGUF":
            raise CheckpointError(f"{self.path}: not a GGUF file")
        self.at = 4
        version = self.number("<I")
        if version not in (2, 3):
            found = version if version & 0xFFFF else "big-endian"
            raise CheckpointError(f"{self.path}: GGUF version {found} is not read, only 2 and 3")
        return self.count("tensor", 24, _MOST_ENTRIES), self.count("metadata field", 13, _MOST_ENTRIES)

    def metadata(self, fields: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for _ in range(fields):
            key = self.string()
            if key in table:
                raise CheckpointError(f"{self.path}: metadata {key[:80]!r} is there twice")
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
            return self.numbers(_SCALARS[item], self._count_elements(Struct(_SCALARS[item]).size))
        count = self._count_elements(8)
        return self.strings(count) if item == _STRING else [self.value(key, item, depth + 1) for _ in range(count)]

    def number(self, form: str) -> Any:
        return Struct(form).unpack(self._take(Struct(form).size))[0]

    def numbers(self, form: str, count: int) -> list[Any]:
        return list(Struct(f"<{count}{form[1]}").unpack(self._take(count * Struct(form).size)))

    def string(self) -> str:
        """A string with its length before it."""
        (length,) = _LENGTH.unpack(self._take(8))
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.path}: a name before byte {self.at} is not UTF-8") from None

    def strings(self, count: int) -> list[str]:
        """An array of strings: as `string` reads them, but quick, since vocabularies are long."""
        data, at, end, found = self.data, self.at, self.end, []
        try:
            for _ in range(count):
                start = at + 8
                at = start + _LENGTH.unpack_from(data, at)[0]
                if at > end:
                    raise CheckpointError(f"{self.path}: truncated or corrupt: it ends inside of its header")
                found.append(data[start:at].decode())
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.path}: a text before byte {at} is not UTF-8") from None
        except struct.error:
            raise CheckpointError(f"{self.path}: truncated or corrupt: it ends inside of its header") from None
        self.at = at
        return found

    def count(self, what: str, size: int, most: int) -> int:
        """How many of something follow, at most `most`, of which each takes at least `size` bytes."""
        count: int = self.number("<Q")
        if count > most or count * size > self.end - self.at:
            raise CheckpointError(f"{self.path}: truncated or corrupt: it claims {count} {what}s")
        return count

    def _count_elements(self, size: int) -> int:
        count = self.count("array element", size, self._elements)
        self._elements -= count
        return count

    def _take(self, length: int) -> bytes:
        if length > self.end - self.at:
            raise CheckpointError(f"{self.path}: truncated or corrupt: it ends inside of its header")
        self.at += length
        return self.data[self.at - length : self.at]
