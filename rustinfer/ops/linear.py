"""Matrix products with weights, dense or packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer.registry import FP8, INT4, INT8, Case, PackedWeight, Weight, dense, op

from .inputs import MAGNITUDES, Draw, strided, without_zeros
from .mutants import Arguments, instead, wrong
from .precision import wide


@op(rows=("x",), batch_invariant=False)
def linear(x: Tensor, *, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, accumulated in fp32; a packed weight is dequantised to its dtype first.

    x: [T, K]; weight: [N, K] in x's dtype; bias: [N] or None. Returns [T, N] in x's dtype.
    """
    return F.linear(x, dense(weight), bias)


@op(rows=("rows",), batch_invariant=False)
def lm_head(hidden: Tensor, rows: Tensor, *, weight: Weight) -> Tensor:
    """Logits of the selected rows, in fp32.

    hidden: [T, width]; rows: [R] int64, indices into T; weight: [vocab, width]. Returns [R, vocab] float32.
    """
    return F.linear(wide(hidden[rows]), wide(dense(weight)))


SHAPES = (
    (1, 64, 32), (7, 576, 1536), (3, 33, 17), (1, 8, 1), (65, 256, 96), (2, 2048, 512), (16, 4096, 256),
    (130, 192, 576),
)  # fmt: skip
PICKS = ((1, 1, 64, 97), (9, 3, 576, 1000), (5, 5, 33, 50), (40, 7, 2048, 513), (3, 2, 8, 1))
PACKED = (
    (INT4, 32, "centre"), (INT4, 32, "free"), (INT4, 64, "free"), (INT4, 128, "centre"), (INT4, 0, "free"),
    (INT8, 32, ""), (INT8, 128, "free"), (INT8, 0, ""), (FP8, 64, ""), (FP8, 0, ""),
)  # fmt: skip


def packed(dtype: torch.dtype, device: torch.device, rows: int, columns: int) -> Iterator[tuple[Draw, PackedWeight]]:
    """One weight of each packing; a group of 0 stands for the whole row."""
    for kind, group, zeros in PACKED:
        label = f"groups of {group}" if group else "one group a row"
        d = Draw(f"{kind.name} {label} {zeros}".strip(), dtype, device)
        yield d, d.packed(kind, rows, columns, group or columns, zeros=zeros)


@linear.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    for rows, columns, outputs in SHAPES:
        d = draw(f"{rows}x{columns} to {outputs}")
        yield Case(d.name, (d.normal(rows, columns),), {"weight": d.weight(outputs, columns)})
    for scale in MAGNITUDES:
        d = draw(f"5x576 to 64 times {scale:g}")
        bound = {"weight": d.weight(64, 576), "bias": d.normal(64, scale=scale)}
        yield Case(d.name, (d.normal(5, 576, scale=scale),), bound)
    yield Case((d := draw("outlier channels")).name, (d.outliers(4, 1024),), {"weight": d.weight(96, 1024)})
    yield Case((d := draw("no rows")).name, (d.normal(0, 64),), {"weight": d.weight(32, 64)})
    yield Case((d := draw("strided")).name, (strided(d.normal(5, 576)),), {"weight": d.weight(64, 576)})
    for rows in (1, 5, 8, 16):
        d = draw(f"decode {rows}")
        yield Case(d.name, (d.normal(rows, 576),), {"weight": d.weight(192, 576)}, decode=True)
    for rows, columns, outputs in (
        (1, 2048, 92),
        (11, 1024, 192),
        (40, 4096, 256),
    ):  # a few rows have kernels of their own
        d = draw(f"decode {rows}x{columns} with bias")
        bound = {"weight": d.weight(outputs, columns), "bias": d.normal(outputs)}
        yield Case(d.name, (d.normal(rows, columns),), bound, decode=True)
    for d, weight in packed(dtype, device, 96, 512):
        yield Case(f"{d.name}, 33 rows", (d.normal(33, 512),), {"weight": weight})
        yield Case(f"{d.name}, decode 1", (d.normal(1, 512),), {"weight": weight}, decode=True)
        biased = {"weight": weight, "bias": d.normal(96)}
        yield Case(f"{d.name}, decode 5 with bias", (d.normal(5, 512),), biased, decode=True)
    d = draw("int4 real width, no rows")
    yield Case(d.name, (d.normal(0, 576),), {"weight": d.packed(INT4, 50, 576, 32, zeros="free")})
    d = draw("int4 real width, outlier channels")
    yield Case(d.name, (d.outliers(3, 576),), {"weight": d.packed(INT4, 50, 576, 32, zeros="free")})
    d = draw("int4 odd rows, strided")
    yield Case(d.name, (strided(d.normal(2, 2048)),), {"weight": d.packed(INT4, 51, 2048, 32, zeros="centre")})


@lm_head.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    for rows, picked, width, vocab in PICKS:
        d = draw(f"{picked} of {rows}x{width} to {vocab}")
        flow = (d.normal(rows, width), d.shuffled(rows)[:picked])
        yield Case(d.name, flow, {"weight": d.weight(vocab, width)})
    for scale in MAGNITUDES:
        d = draw(f"2 of 4x576 times {scale:g}")
        yield Case(d.name, (d.normal(4, 576, scale=scale), d.shuffled(4)[:2]), {"weight": d.weight(200, 576)})
    d = draw("a row twice, outlier channels")
    yield Case(d.name, (d.outliers(4, 576), torch.tensor([3, 3, 0], device=device)), {"weight": d.weight(100, 576)})
    yield Case((d := draw("no rows")).name, (d.normal(4, 64), d.shuffled(0)), {"weight": d.weight(97, 64)})
    yield Case((d := draw("strided")).name, (strided(d.normal(5, 576)), d.shuffled(5)), {"weight": d.weight(97, 576)})
    for d, weight in packed(dtype, device, 300, 512):
        yield Case(d.name, (d.normal(4, 512), d.shuffled(4)[:3]), {"weight": weight})
    for rows in (1, 8):
        d = draw(f"decode {rows}")
        flow = (d.normal(rows, 576), torch.arange(rows, device=device))
        yield Case(d.name, flow, {"weight": d.packed(INT4, 300, 576, 32, zeros="free")}, decode=True)
        yield Case(f"{d.name} dense", flow, {"weight": d.weight(300, 576)}, decode=True)


def nibbles_swapped(weight: Weight) -> Weight:
    """INT4 with low and high nibbles exchanged: the commonest way to misread the format."""
    if isinstance(weight, PackedWeight) and weight.format is INT4:
        return replace(weight, data=weight.data << 4 | weight.data >> 4)
    return weight


def centred(weight: Weight) -> Weight:
    """A packed weight with the zeros of a format that has none of its own."""
    if isinstance(weight, PackedWeight) and weight.zeros is not None:
        return replace(weight, zeros=-8 * weight.scales)
    return weight


@instead(linear, "accumulates in x's own dtype")
def _(a: Arguments) -> Tensor:
    """Sums rounded every eight columns."""
    x, w, bias = a["x"], dense(a["weight"]), a["bias"]
    total = torch.zeros(x.shape[0], w.shape[0], dtype=x.dtype, device=x.device)
    for start in range(0, x.shape[1], 8):
        total += x[:, start : start + 8] @ w[:, start : start + 8].T
    return total if bias is None else total + bias


wrong(linear, "bias dropped")(lambda a: {"bias": None})
wrong(linear, "last input column skipped")(lambda a: {"x": a["x"][:, :-1], "weight": dense(a["weight"])[:, :-1]})
wrong(linear, "nibbles swapped")(lambda a: {"weight": nibbles_swapped(a["weight"])})
wrong(linear, "zeros ignored")(lambda a: {"weight": without_zeros(a["weight"])})
wrong(linear, "zeros centred")(lambda a: {"weight": centred(a["weight"])})
wrong(lm_head, "first rows instead of the selected")(lambda a: {"rows": torch.arange(len(a["rows"]))})
instead(lm_head, "returns the hidden dtype")(lambda a: lm_head(**a).to(a["hidden"].dtype))
wrong(lm_head, "nibbles swapped")(lambda a: {"weight": nibbles_swapped(a["weight"])})
wrong(lm_head, "last input column skipped")(
    lambda a: {"hidden": a["hidden"][:, :-1], "weight": dense(a["weight"])[:, :-1]}
)
