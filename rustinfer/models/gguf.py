"""Reads the GGUF container: a table of metadata and a list of tensors, whose bytes stay in the file.

Nothing in the file is believed: counts, sizes and offsets are checked, in Python's unbounded integers, against the
file's size before anything is allocated. The package `gguf` has a reader, too; it makes arrays of every single string,
which for a vocabulary takes it seconds at each start.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError
from .files import regular
from .gguf_header import GgufHeader

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
            with regular(path).open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        header = GgufHeader(self._map, path)
        tensors, fields = header.begin()
        self.metadata = header.metadata(fields)
        entries = [header.tensor() for _ in range(tensors)]
        self.tensors = self._placed(entries, header.at)

    def blocks(self, tensor: GgufTensor) -> NDArray[np.uint8]:
        """A tensor's bytes as uint8 [rows, blocks in a row, bytes of a block], read-only and not copied."""
        elements, size = tensor.block
        flat = np.frombuffer(self._map, np.uint8, tensor.nbytes, tensor.start)
        return flat.reshape(prod(tensor.shape[:-1]), tensor.shape[-1] // elements, size)

    def _placed(self, entries: list[tuple[str, int, tuple[int, ...], int]], end: int) -> dict[str, GgufTensor]:
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise CheckpointError(f"{self.path}: general.alignment is {alignment!r}, not a power of two from 8 on")
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
