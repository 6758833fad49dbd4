"""Random inputs for conformance cases: the same numbers in every process and on every device."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rustinfer.registry import FP8, INT4, Case, Format, PackedWeight, Weight

MAGNITUDES = (1e-3, 1.0, 300.0)


class Draw:
    """Draws tensors from a generator seeded by the case's name alone, so a case never depends on its neighbours."""

    def __init__(self, name: str, dtype: torch.dtype, device: torch.device) -> None:
        self.name, self.dtype, self.device = name, dtype, device
        self._generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def normal(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """Gaussian numbers with standard deviation `scale`."""
        return self.put(torch.randn(shape, generator=self._generator) * scale, dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """Numbers evenly spread over [low, high)."""
        return self.put(torch.rand(shape, generator=self._generator) * (high - low) + low, dtype)

    def outliers(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Gaussian numbers with every 37th channel 100 times larger, as in the residual streams of real models."""
        x = torch.randn(shape, generator=self._generator) * scale
        x[..., ::37] *= 100
        return self.put(x)

    def integers(self, *shape: int, below: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Integers in [0, below)."""
        return torch.randint(below, shape, generator=self._generator).to(self.device, dtype)

    def shuffled(self, count: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """The numbers 0 to count - 1 in random order."""
        return torch.randperm(count, generator=self._generator).to(self.device, dtype)

    def weight(self, rows: int, columns: int) -> Tensor:
        """A dense [rows, columns] matrix whose products keep the magnitude of what they multiply."""
        return self.normal(rows, columns, scale=columns**-0.5)

    def packed(self, kind: Format, rows: int, columns: int, group: int, *, zeros: str = "") -> PackedWeight:
        """A packed matrix of `weight`'s magnitude; zeros: "" none, "centre" -8 * scale (Q4_0), "free" random (Q4_1)."""
        step = columns**-0.5 / (4.0 if kind is INT4 else 1.0 if kind is FP8 else 64.0)
        scales = self.uniform(rows, columns // group, low=0.5 * step, high=1.5 * step, dtype=torch.float16)
        free = -self.uniform(*scales.shape, low=4 * step, high=11 * step, dtype=torch.float16)
        offsets = {"": None, "centre": -8 * scales, "free": free}
        shape = torch.Size((rows, columns))
        return PackedWeight(kind, self._data(kind, rows, columns), scales, offsets[zeros], group, shape, self.dtype)

    def _data(self, kind: Format, rows: int, columns: int) -> Tensor:
        if kind is INT4:
            return self.integers(rows, columns // 2, below=256, dtype=torch.uint8)
        if kind is FP8:
            return self.normal(rows, columns, dtype=torch.float8_e4m3fn)
        return self.integers(rows, columns, below=255).sub(127).to(torch.int8)

    def put(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor on the case's device, in its dtype unless another is named."""
        return x.to(self.device, dtype or self.dtype)


def strided(x: Tensor) -> Tensor:
    """The same numbers as a view into wider rows, as a split of a matmul's result is. The last axis stays dense."""
    wider = torch.full((*x.shape[:-1], x.shape[-1] + 8), 7, dtype=x.dtype, device=x.device)
    view = wider[..., : x.shape[-1]]
    view.copy_(x)
    return view


def of_logits(
    make: Callable[..., Case], draw: Callable[[str], Draw], shapes: Iterable[tuple[int, int, int]], some: int = 2
) -> Iterator[Case]:
    """What the cases of every op have that writes to logits, its first argument, where it is asked to.

    `make(draw, rows, vocab, asked, scale=)` makes one in which so many rows, or places, are asked for; `shapes` are
    the plain ones, and `some` is how many the others ask for.
    """
    for rows, vocab, asked in shapes:
        yield make(draw(f"{asked} of {rows}x{vocab}"), rows, vocab, asked)
    for scale in (1e-3, 300.0):
        yield make(draw(f"times {scale:g}"), 3, 70, some, scale=scale)
    yield make(draw("nobody asks"), 3, 70, 0)
    yield make(draw("no rows"), 0, 97, 0)
    wider = make(draw("views of wider rows"), 3, 200, some)
    yield Case(wider.name, (strided(wider.flow[0]), *wider.flow[1:]))
    masked = make(draw("masked tokens"), 3, 65, some)
    masked.flow[0][:, ::3] = -torch.inf
    yield masked


def without_zeros(weight: Weight) -> Weight:
    """The same weight read as one without zeros, if it is packed."""
    return replace(weight, zeros=None) if isinstance(weight, PackedWeight) else weight
