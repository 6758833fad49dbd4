"""Dense weights packed while they are loaded, so that any checkpoint can run with fewer bytes.

Weights alone are packed, to the nearest, without calibration: activations keep their dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

from ..registry import FP8, INT4, INT8, Format, PackedWeight, Weight
from .errors import CheckpointError
from .named import Named

BLOCK = 128  # rows and columns of an fp8 block that share a scale


class Quantised(Named):
    """A checkpoint's weights with its matrices packed when looked up; vectors stay as they are.

    The embedding and the head are packed as int8 by row whatever is asked: of a vocabulary's rows each is read by
    itself, and the last product decides every token. Raises CheckpointError for a weight that is packed already.
    """

    def __init__(self, source: Mapping[str, Weight], scheme: str) -> None:
        self.source = self.names = source
        self.scheme = scheme

    def __getitem__(self, name: str) -> Weight:
        weight = self.source[name]
        if isinstance(weight, PackedWeight):
            raise CheckpointError(f"{name} is packed as {weight.format.name}: --quantization is for dense weights")
        if weight.dim() != 2:
            return weight
        return SCHEMES[_scheme(name, self.scheme)](weight)


def packed_bytes(shapes: Mapping[str, Sequence[int]], scheme: str, itemsize: int) -> int:
    """What weights of these names and shapes take as `Quantised` packs them, vectors at `itemsize` bytes a number."""
    return sum(
        shape[0] * _row_bytes(_scheme(name, scheme), shape[1]) if len(shape) == 2 else prod(shape) * itemsize
        for name, shape in shapes.items()
    )


def _scheme(name: str, scheme: str) -> str:
    return "int8" if name.startswith(("model.embed_tokens.", "lm_head.")) else scheme


@cache
def _row_bytes(scheme: str, columns: int) -> int:
    return SCHEMES[scheme](torch.zeros(1, columns)).nbytes


def int8_rows(weight: Tensor) -> PackedWeight:
    """A scale a row; values -127..127."""
    scales = _scales(weight.float().abs().amax(1, keepdim=True) / 127)
    data = (weight.float() / scales).round_().to(torch.int8)
    return _packed(INT8, data, scales, None, weight)


def fp8_rows(weight: Tensor) -> PackedWeight:
    """e4m3 with a scale a row, which maps its largest magnitude to the format's."""
    scales = _scales(weight.float().abs().amax(1, keepdim=True) / torch.finfo(torch.float8_e4m3fn).max)
    return _packed(FP8, (weight.float() / scales).to(torch.float8_e4m3fn), scales, None, weight)


def fp8_blocks(weight: Tensor) -> PackedWeight:
    """e4m3 with a scale for each 128 rows and columns, repeated for its rows; by row where blocks do not fit."""
    rows, columns = weight.shape
    if columns % BLOCK:
        return fp8_rows(weight)
    padded = torch.nn.functional.pad(weight.float(), (0, 0, 0, -rows % BLOCK))
    peaks = padded.abs().view(-1, BLOCK, columns // BLOCK, BLOCK).amax((1, 3))
    scales = _scales(peaks / torch.finfo(torch.float8_e4m3fn).max).repeat_interleave(BLOCK, 0)[:rows].contiguous()
    spread = scales.repeat_interleave(BLOCK, 1)
    return _packed(FP8, (weight.float() / spread).to(torch.float8_e4m3fn), scales, None, weight)


def int4_groups(weight: Tensor) -> PackedWeight:
    """Sixteen even steps from the least to the largest number of each group of 64 columns, or of 32.

    By row in int8 where the columns are no multiple of 32.
    """
    rows, columns = weight.shape
    group = next((g for g in (64, 32) if columns % g == 0), None)
    if group is None:
        return int8_rows(weight)
    grouped = weight.float().view(rows, columns // group, group)
    least, most = grouped.amin(-1), grouped.amax(-1)
    # Rounded before they are divided by, so that what is packed is nearest to what will be unpacked.
    zeros, scales = least.half(), _scales((most - least) / 15).half().clamp(min=2.0**-24)
    steps = ((grouped - zeros.float()[..., None]) / scales.float()[..., None]).round_().clamp_(0, 15).to(torch.uint8)
    low, high = steps.chunk(2, -1)
    return _packed(INT4, (low | high << 4).reshape(rows, columns // 2), scales, zeros, weight, group)


SCHEMES: Mapping[str, Callable[[Tensor], PackedWeight]] = {
    "int8": int8_rows,
    "fp8": fp8_rows,
    "fp8-block": fp8_blocks,
    "int4": int4_groups,
}


def _scales(steps: Tensor) -> Tensor:
    """A row or group of zeros has any scale but 0."""
    return steps.where(steps > 0, torch.ones_like(steps))


def _packed(
    kind: Format, data: Tensor, scales: Tensor, zeros: Tensor | None, weight: Tensor, group: int | None = None
) -> PackedWeight:
    width = group or weight.shape[1] // scales.shape[1]
    return PackedWeight(kind, data, scales, zeros, width, weight.shape, weight.dtype)
