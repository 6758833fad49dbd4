"""A weight as the kernels see it, and the shapes of the blocks in which they read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

from torch import Tensor

from ...registry import FP8, INT4, INT8, PackedWeight, Refusal, Target, Weight
from .backend import FEW_ROWS
from .launch import pdl, power

READABLE = {"int4": INT4, "int8": INT8, "fp8": FP8}
MOST_TOGETHER = 64  # activation rows of one program


def readable(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernels cannot read the weight as it is packed, or None."""
    weight = bound["weight"]
    if isinstance(weight, PackedWeight) and weight.format not in READABLE.values():
        return f"reads {', '.join(READABLE)} and dense weights, not {weight.format.name}"
    return None


def few(target: Target) -> bool:
    """Whether kernels of ours are faster than a library's product for so many rows."""
    return target.rows is not None and target.rows <= FEW_ROWS


@dataclass(frozen=True)
class Matrix:
    """Data, scales and zeros of a weight [rows, columns]; a dense one has its data thrice and a group of 1."""

    parts: tuple[Tensor, Tensor, Tensor]
    format: str
    group: int
    has_zeros: bool
    rows: int
    columns: int

    @classmethod
    def of(cls, weight: Weight) -> Matrix:
        """The weight's tensors, made contiguous if they are not."""
        rows, columns = weight.shape
        if not isinstance(weight, PackedWeight):
            data = weight.contiguous()
            return cls((data, data, data), "dense", 1, False, rows, columns)
        data, scales = weight.data.contiguous(), weight.scales.contiguous()
        zeros = scales if weight.zeros is None else weight.zeros.contiguous()
        return cls((data, scales, zeros), weight.format.name, weight.group, weight.zeros is not None, rows, columns)

    @property
    def packed(self) -> bool:
        """Whether it is not dense."""
        return self.format != "dense"

    @property
    def per_byte(self) -> int:
        """Matrix elements per stored element."""
        return 2 if self.format == "int4" else 1

    def config(self, target: Target, rows: int, choice: Mapping[str, int]) -> dict[str, Any]:
        """The constants of a product kernel for up to `rows` activation rows. `choice` is what `tuning` chose."""
        stored_group = self.group // self.per_byte
        block = choice["BK"] // self.per_byte
        # The largest power of two that divides a group, so that no span of stored elements crosses into the next one.
        span = gcd(stored_group, block) if self.format != "dense" else 1
        return {
            "K": self.columns,
            "FORMAT": self.format,
            "GROUP": self.group,
            "ZEROS": self.has_zeros,
            "BM": 1 if rows == 1 else min(power(rows, 16), MOST_TOGETHER),
            "SPAN": span,
            "SPLITS": 1,
            **choice,
            **pdl(target),
        }
