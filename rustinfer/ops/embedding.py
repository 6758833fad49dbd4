"""Token embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import FP8, INT4, INT8, Case, PackedWeight, Weight, op

from .inputs import Draw


@op(rows=("tokens",))
def embedding(tokens: Tensor, *, weight: Weight) -> Tensor:
    """Rows of weight, dequantised if it is packed.

    tokens: [T] int64; weight: [vocab, width]. Returns [T, width] in weight's dtype.
    """
    return weight.rows(tokens).dequantise() if isinstance(weight, PackedWeight) else weight[tokens]


PACKED = ((INT4, 32, "centre"), (INT4, 32, "free"), (INT4, 128, "free"), (INT8, 32, ""), (INT8, 256, ""), (FP8, 64, ""))


@embedding.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

    for tokens, vocab, width in ((1, 97, 64), (7, 1000, 576), (3, 5, 33), (129, 257, 8), (2, 1, 1)):
        d = draw(f"{tokens} of {vocab}x{width}")
        yield Case(d.name, (d.integers(tokens, below=vocab),), {"weight": d.normal(vocab, width)})
    for kind, group, zeros in PACKED:
        d = draw(f"{kind.name} groups of {group} {zeros}".strip())
        yield Case(d.name, (d.integers(9, below=97),), {"weight": d.packed(kind, 97, 256, group, zeros=zeros)})
    ends = torch.tensor([96, 0, 96, 0], device=device)
    yield Case((d := draw("first and last")).name, (ends,), {"weight": d.normal(97, 64)})
    yield Case((d := draw("no rows")).name, (d.integers(0, below=97),), {"weight": d.normal(97, 64)})
    d = draw("decode")
    yield Case(d.name, (d.integers(8, below=97),), {"weight": d.normal(97, 2048)}, decode=True)


@embedding.mutant("next row")
def _(tokens: Tensor, *, weight: Weight) -> Any:
    return embedding((tokens + 1) % weight.shape[0], weight=weight)


@embedding.mutant("last row clamped away")
def _(tokens: Tensor, *, weight: Weight) -> Any:
    return embedding(tokens.clamp(max=max(weight.shape[0] - 2, 0)), weight=weight)


@embedding.mutant("zeros ignored")
def _(tokens: Tensor, *, weight: Weight) -> Any:
    return embedding(tokens, weight=replace(weight, zeros=None) if isinstance(weight, PackedWeight) else weight)


@embedding.mutant("one scale for the row")
def _(tokens: Tensor, *, weight: Weight) -> Any:
    if isinstance(weight, PackedWeight):
        weight = replace(weight, scales=weight.scales[:, :1].expand_as(weight.scales))
    return embedding(tokens, weight=weight)


@embedding.mutant("returns fp32")
def _(tokens: Tensor, *, weight: Weight) -> Any:
    return embedding(tokens, weight=weight).float()
