"""Token embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import FP8, INT4, INT8, Case, PackedWeight, Weight, op

from .inputs import Draw, without_zeros
from .mutants import spoilt, wrong


@op(rows=("tokens",))
def embedding(tokens: Tensor, *, weight: Weight) -> Tensor:
    """Rows of weight, dequantised if it is packed.

    tokens: [T] int64; weight: [vocab, width]. Returns [T, width] in weight's dtype.
    """
    return weight.rows(tokens).dequantise() if isinstance(weight, PackedWeight) else weight[tokens]


PACKED = ((INT4, 32, "centre"), (INT4, 32, "free"), (INT4, 128, "free"), (INT8, 32, ""), (INT8, 256, ""), (FP8, 64, ""))


@embedding.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
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


def one_scale(weight: Weight) -> Weight:
    """A packed weight with each row's first scale for all of its groups."""
    if isinstance(weight, PackedWeight):
        return replace(weight, scales=weight.scales[:, :1].expand_as(weight.scales))
    return weight


wrong(embedding, "next row")(lambda a: {"tokens": (a["tokens"] + 1) % a["weight"].shape[0]})
wrong(embedding, "last row clamped away")(lambda a: {"tokens": a["tokens"].clamp(max=max(a["weight"].shape[0] - 2, 0))})
wrong(embedding, "zeros ignored")(lambda a: {"weight": without_zeros(a["weight"])})
wrong(embedding, "one scale for the row")(lambda a: {"weight": one_scale(a["weight"])})
spoilt(embedding, "returns fp32")(Tensor.float)
