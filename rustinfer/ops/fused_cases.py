"""Conformance cases of the fused ops, and wrong versions of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import FP8, INT4, INT8, Case, Weight, dense

from .cache import caches, wrapped
from .fused import gate_up_silu, norm_gate_up_silu, norm_qkv_rope_write, qkv_rope_write
from .inputs import MAGNITUDES, Draw, strided
from .joint import linear_add_rms_norm, linear_norm_gate_up_silu, linear_norm_qkv_rope_write
from .mutants import Arguments, wrong
from .rotary import table

PACKINGS = {
    "": None,
    "int4": (INT4, 32, "free"),
    "int4 centred": (INT4, 64, "centre"),
    "int8": (INT8, 32, ""),
    "fp8": (FP8, 64, ""),
}


@dataclass(frozen=True)
class Rows:
    """What the cases of every fused op vary: `rows` of `width`, how they are drawn and how the weight is packed."""

    rows: int
    width: int
    scale: float = 1.0
    packing: str = ""
    kind: str = ""
    decode: bool = False

    def __str__(self) -> str:
        times = "" if self.scale == 1 else f"times {self.scale:g}"
        decode = "decode" if self.decode else ""
        return " ".join(filter(None, (f"{self.rows}x{self.width}", times, self.packing, self.kind, decode)))

    def draw(self, dtype: torch.dtype, device: torch.device) -> Draw:
        return Draw(str(self), dtype, device)

    def x(self, d: Draw) -> Tensor:
        x = (d.outliers if self.kind == "outliers" else d.normal)(self.rows, self.width, scale=self.scale)
        return strided(x) if self.kind == "strided" else x

    def weight(self, d: Draw, rows: int) -> Weight:
        packing = PACKINGS[self.packing]
        if packing is None:
            return d.weight(rows, self.width)
        kind, group, zeros = packing
        return d.packed(kind, rows, self.width, group, zeros=zeros)

    def norm(self, d: Draw) -> dict[str, Any]:
        """The bound arguments of the norm in front."""
        return {"norm": d.uniform(self.width, low=0.5, high=1.5), "eps": 1e-5}


VARIANTS = (
    Rows(1, 64),
    Rows(7, 576),
    Rows(5, 33),
    Rows(33, 256),
    Rows(2, 2048),
    Rows(0, 64),
    *(Rows(5, 64, scale=m) for m in MAGNITUDES if m != 1),
    Rows(4, 512, kind="outliers"),
    Rows(3, 576, kind="strided"),
    *(Rows(rows, 256, packing=p, decode=rows < 9) for rows in (1, 5, 20) for p in PACKINGS if p),
    *(Rows(rows, 576, decode=True) for rows in (1, 8)),
    Rows(1, 2048, decode=True),
)


FEW = (Rows(12, 512, decode=True), Rows(32, 1024, decode=True))  # as so many rows have kernels of their own


@gate_up_silu.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for rows in VARIANTS:
        d = rows.draw(dtype, device)
        yield Case(d.name, (rows.x(d),), {"weight": rows.weight(d, 2 * 48)}, rows.decode)
    for rows in FEW:
        d = rows.draw(dtype, device)
        yield Case(d.name, (rows.x(d),), {"weight": rows.weight(d, 2 * 64)}, decode=True)
    long = Rows(1030, 64)  # many rows have kernels of their own
    yield Case((d := long.draw(dtype, device)).name, (long.x(d),), {"weight": long.weight(d, 2 * 40)})
    d = Draw("3x64 to an odd width", dtype, device)
    yield Case(d.name, (d.normal(3, 64),), {"weight": d.weight(2 * 17, 64)})


@norm_gate_up_silu.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for rows in VARIANTS:
        d = rows.draw(dtype, device)
        bound = {**rows.norm(d), "weight": rows.weight(d, 2 * 48)}
        yield Case(d.name, (rows.x(d), d.normal(rows.rows, rows.width, scale=rows.scale)), bound, rows.decode)


def projection(d: Draw, rows: Rows, heads: int, kv_heads: int, dim: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """(positions, slots, k_cache, v_cache) and the bound arguments of qkv_rope_write; every fifth slot is -1."""
    pages, size, outputs = rows.rows // 4 + 2, 16 if dim != 6 else 7, (heads + 2 * kv_heads) * dim
    slots = d.shuffled(pages * size)[: rows.rows]
    slots[2::5] = -1
    flow = (d.integers(rows.rows, below=512), slots, *caches(d, pages, kv_heads, size, dim))
    bias = d.normal(outputs, scale=rows.scale) if rows.rows % 2 else None
    bound = {"weight": rows.weight(d, outputs), "bias": bias, "heads": heads, "kv_heads": kv_heads}
    return flow, bound | table(d, 512, dim)


HEADS = ((1, 1, 6), (9, 3, 64), (4, 2, 80), (4, 4, 16), (2, 1, 128))


@qkv_rope_write.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for i, rows in enumerate(VARIANTS):
        d = rows.draw(dtype, device)
        x, (flow, bound) = rows.x(d), projection(d, rows, *HEADS[i % len(HEADS)])
        yield Case(d.name, (x, *flow), bound, rows.decode)
    for rows, heads in zip(FEW, ((9, 3, 64), (2, 1, 128)), strict=True):
        d = rows.draw(dtype, device)
        flow, bound = projection(d, rows, *heads)
        yield Case(d.name, (rows.x(d), *flow), bound, decode=True)


@norm_qkv_rope_write.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for i, rows in enumerate(VARIANTS):
        d = rows.draw(dtype, device)
        x, residual = rows.x(d), d.normal(rows.rows, rows.width, scale=rows.scale)
        flow, bound = projection(d, rows, *HEADS[i % len(HEADS)])
        yield Case(d.name, (x, residual, *flow), {**rows.norm(d), **bound}, rows.decode)


FRONTS = (*((rows, 128) for rows in VARIANTS), *zip(FEW, (256, 640), strict=True))  # rows, a first product's outputs
# So many have a norm that adds up shares, here with a bias; and a few such, which are cheap to interpret.
MANY = (Rows(81, 256, decode=True), Rows(131, 640, decode=True), Rows(3, 128, decode=True))


def joints(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Draw, Rows, tuple[Tensor, ...], dict[str, Any]]]:
    """Of each case the rows behind the first product, (x, residual), and what is bound of that product and the norm."""
    for rows, width in FRONTS:
        d = rows.draw(dtype, device)
        yield d, replace(rows, width=width), *front(d, rows, width)


def front(d: Draw, rows: Rows, width: int) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """(x, residual) in front of a first product of `width` outputs, and what is bound of that and of the norm."""
    bias = d.normal(width, scale=rows.scale) if rows.rows % 2 else None
    bound = {"first": rows.weight(d, width), "first_bias": bias, **replace(rows, width=width).norm(d)}
    return (rows.x(d), d.normal(rows.rows, width, scale=rows.scale)), bound


@linear_add_rms_norm.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for rows, width in (*FRONTS, *((rows, 384) for rows in MANY)):
        d = rows.draw(dtype, device)
        flow, bound = front(d, rows, width)
        own = {"weight": bound.pop("first"), "bias": bound.pop("first_bias")}
        yield Case(d.name, flow, {**bound, **own}, rows.decode)


@linear_norm_gate_up_silu.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for d, rows, flow, bound in joints(dtype, device):
        yield Case(d.name, flow, {**bound, "weight": rows.weight(d, 2 * 64)}, rows.decode)


@linear_norm_qkv_rope_write.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for i, (d, rows, flow, bound) in enumerate(joints(dtype, device)):
        rest, more = projection(d, rows, *HEADS[i % len(HEADS)] if rows.width == 128 else (9, 3, 64))
        yield Case(d.name, (*flow, *rest), {**bound, **more}, rows.decode)


def halves_swapped(a: Arguments) -> Arguments:
    return {"weight": torch.cat(dense(a["weight"]).chunk(2)[::-1])}


def values_first(a: Arguments) -> Arguments:
    """The joint weight's rows read as q, v, k."""
    weight, dim = dense(a["weight"]), 2 * a["cos"].shape[1]
    heads, group = a["heads"] * dim, a["kv_heads"] * dim
    return {"weight": torch.cat((weight[:heads], weight[heads + group :], weight[heads : heads + group]))}


def last_column_lost(a: Arguments) -> Arguments:
    weight = dense(a["weight"]).clone()
    weight[:, -1] = 0
    return {"weight": weight}


for _op in (gate_up_silu, norm_gate_up_silu, linear_norm_gate_up_silu):
    wrong(_op, "halves swapped")(halves_swapped)
    wrong(_op, "rows of the weight reversed")(lambda a: {"weight": dense(a["weight"]).flip(0)})
    wrong(_op, "last input column skipped")(last_column_lost)
for _op in (qkv_rope_write, norm_qkv_rope_write, linear_norm_qkv_rope_write):
    wrong(_op, "weight read as q, v, k")(values_first)
    wrong(_op, "slot -1 wraps to the last slot")(wrapped)
    wrong(_op, "bias dropped")(lambda a: {"bias": None})
    wrong(_op, "positions one too high")(lambda a: {"positions": (a["positions"] + 1) % a["cos"].shape[0]})
JOINTS = (linear_norm_gate_up_silu, linear_norm_qkv_rope_write)
for _op in (norm_gate_up_silu, norm_qkv_rope_write, linear_add_rms_norm, *JOINTS):
    wrong(_op, "residual left out")(lambda a: {"residual": torch.zeros_like(a["residual"])})
    wrong(_op, "eps dropped")(lambda a: {"eps": 0.0})
for _op in JOINTS:
    wrong(_op, "bias of the first product dropped")(lambda a: {"first_bias": None})
    wrong(_op, "rows of the first weight reversed")(lambda a: {"first": dense(a["first"]).flip(0)})
wrong(linear_add_rms_norm, "rows of the weight reversed")(lambda a: {"weight": dense(a["weight"]).flip(0)})
wrong(linear_add_rms_norm, "bias dropped")(lambda a: {"bias": None})
wrong(linear_add_rms_norm, "last input column skipped")(last_column_lost)
for _op in (norm_gate_up_silu, norm_qkv_rope_write):
    wrong(_op, "residual updated in place")(lambda a: {"residual": a["residual"].add_(a["x"]), "x": a["x"] * 0})
