"""Weights: dense tensors, or packed ones that a kernel may read as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Format:
    """How packed data becomes numbers: `unpack(data, group)` gives float32 [rows, columns] before scales and zeros.

    A plugin adds a format by making one of these; kernels that read it say so in `when=`.
    """

    name: str
    bits: int
    unpack: Callable[[Tensor, int], Tensor]


def _nibbles(data: Tensor, group: int) -> Tensor:
    grouped = data.view(*data.shape[:-1], -1, group // 2)
    return torch.cat((grouped & 15, grouped >> 4), -1).flatten(-2).float()


INT4 = Format("int4", 4, _nibbles)
INT8 = Format("int8", 8, lambda data, group: data.float())
FP8 = Format("fp8", 8, lambda data, group: data.float())


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """A [rows, columns] matrix kept packed: value = unpack(data) * scales + zeros, by groups of `group` columns.

    INT4 data is uint8 [rows, columns / 2]: in each group, byte j holds element j in its low nibble and element
    j + group / 2 in its high nibble, both 0..15. INT8 is int8 and FP8 is float8_e4m3fn, each [rows, columns].
    `scales` and `zeros` are [rows, columns / group], float16 or float32. `dtype` is what `dequantise` returns.
    """

    format: Format
    data: Tensor
    scales: Tensor
    zeros: Tensor | None
    group: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return self.data.device

    @property
    def nbytes(self) -> int:
        """Bytes of data, scales and zeros together."""
        return sum(t.nbytes for t in (self.data, self.scales, self.zeros) if t is not None)

    def dequantise(self) -> Tensor:
        """The matrix as a dense tensor of `dtype`, computed in float32."""
        return self.unpacked().to(self.dtype)

    def unpacked(self) -> Tensor:
        """The matrix in float32."""
        values = self.format.unpack(self.data, self.group).view(*self.scales.shape, self.group)
        values = values * self.scales.float().unsqueeze(-1)
        if self.zeros is not None:
            values = values + self.zeros.float().unsqueeze(-1)
        return values.flatten(-2)

    def rows(self, index: Tensor | slice) -> PackedWeight:
        """The rows that `index` selects, still packed."""
        return self.each(lambda part: part[index])

    def to(self, device: torch.device | str) -> PackedWeight:
        """The same weight on another device."""
        return self.each(lambda part: part.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> PackedWeight:
        """Data, scales and zeros changed alike; as many rows as there are then."""
        data, zeros = change(self.data), None if self.zeros is None else change(self.zeros)
        shape = torch.Size((len(data), self.shape[1]))
        return replace(self, data=data, scales=change(self.scales), zeros=zeros, shape=shape)

    def astype(self, dtype: torch.dtype) -> PackedWeight:
        """The same weight, dequantising to another dtype. Nothing is copied."""
        return replace(self, dtype=dtype)

    def like(self, other: Weight) -> bool:
        """Whether the two can be joined row by row without dequantising."""
        return isinstance(other, PackedWeight) and self._packing == other._packing

    @property
    def _packing(self) -> tuple[object, ...]:
        return self.format, self.group, self.shape[1], self.dtype, self.scales.dtype, self.zeros is None


Weight = Tensor | PackedWeight


def dense(weight: Weight) -> Tensor:
    """The weight as a dense tensor; a dense one is returned as it is."""
    return weight.dequantise() if isinstance(weight, PackedWeight) else weight


def join(weights: Sequence[Weight]) -> Weight:
    """Stack matrices by rows: packed if all share one packing, else dense."""
    first = weights[0]
    if not isinstance(first, PackedWeight) or not all(first.like(w) for w in weights[1:]):
        return torch.cat([dense(w) for w in weights])
    packed = [w for w in weights if isinstance(w, PackedWeight)]
    zeros = [w.zeros for w in packed if w.zeros is not None]
    return replace(
        first,
        data=torch.cat([w.data for w in packed]),
        scales=torch.cat([w.scales for w in packed]),
        zeros=torch.cat(zeros) if zeros else None,
        shape=torch.Size((sum(w.shape[0] for w in packed), first.shape[1])),
    )
