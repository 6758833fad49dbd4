"""Root-mean-square normalisation of rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Binder, Case, op
from rustinfer.registry.op import Function

from .inputs import MAGNITUDES, Draw, strided
from .mutants import Arguments, instead, spoilt, wrong
from .precision import wide


@op(rows=("x",))
def rms_norm(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    """Scale each row to unit root-mean-square, in fp32, round to x's dtype, then multiply by weight.

    x: [..., width]; weight: [width] in x's dtype. Returns x's shape and dtype.
    """
    h = wide(x)
    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


@op(rows=("x", "residual"))
def add_rms_norm(x: Tensor, residual: Tensor, *, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Add x to the residual stream and normalise the sum; returns (normalised, x + residual).

    x, residual: [..., width] in one dtype; weight: [width].
    """
    total = x + residual
    return rms_norm(total, weight=weight, eps=eps), total


@add_rms_norm.compose
def _(ops: Binder, *, weight: Tensor, eps: float) -> Function:
    norm = ops.rms_norm(weight=weight, eps=eps)

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        total = x + residual
        return norm(total), total

    return call


SHAPES = ((1, 64), (7, 4096), (3, 576), (5, 33), (2, 8), (129, 2048), (3, 8192), (1, 1), (4, 3, 128))


def inputs(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Draw, Tensor, float]]:
    """The x of each case, with its eps."""

    draw = partial(Draw, dtype=dtype, device=device)
    for shape in SHAPES:
        d = draw("x".join(map(str, shape)))
        yield d, d.normal(*shape), 1e-5
    for scale in MAGNITUDES:
        for width in (8, 576):
            d = draw(f"5x{width} times {scale:g}")
            yield d, d.normal(5, width, scale=scale), 1e-5
    yield (d := draw("outlier channels")), d.outliers(4, 2048), 1e-6
    yield (d := draw("zero row")), d.put(torch.zeros(2, 64)), 1e-5
    yield (d := draw("no rows")), d.normal(0, 64), 1e-5
    yield (d := draw("strided")), strided(d.normal(5, 576)), 1e-5
    yield (d := draw("strided heads")), d.normal(6, 5 * 64).view(6, 5, 64)[:, 1:4], 1e-6


@rms_norm.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for d, x, eps in inputs(dtype, device):
        yield Case(d.name, (x,), {"weight": d.uniform(x.shape[-1], low=0.5, high=1.5), "eps": eps})
    d = Draw("decode", dtype, device)
    yield Case(d.name, (d.normal(8, 2048),), {"weight": d.uniform(2048), "eps": 1e-5}, decode=True)


@add_rms_norm.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for d, x, eps in inputs(dtype, device):
        residual = d.normal(*x.shape) * (x.abs().mean() if x.numel() else 1)
        yield Case(d.name, (x, residual), {"weight": d.uniform(x.shape[-1], low=0.5, high=1.5), "eps": eps})
    d = Draw("decode", dtype, device)
    flow = (d.normal(8, 2048), d.normal(8, 2048))
    yield Case(d.name, flow, {"weight": d.uniform(2048), "eps": 1e-5}, decode=True)


@instead(rms_norm, "squares in x's own dtype")
def _(a: Arguments) -> Any:
    x = a["x"]
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + a["eps"]) * a["weight"]


@instead(rms_norm, "eps outside the root")
def _(a: Arguments) -> Any:
    h = wide(a["x"])
    return (h / (h.pow(2).mean(-1, keepdim=True).sqrt() + a["eps"])).to(a["x"].dtype) * a["weight"]


@instead(rms_norm, "mean over width - 1")
def _(a: Arguments) -> Any:
    h = wide(a["x"])
    mean = h.pow(2).sum(-1, keepdim=True) / max(h.shape[-1] - 1, 1)
    return (h * torch.rsqrt(mean + a["eps"])).to(a["x"].dtype) * a["weight"]


@instead(add_rms_norm, "updates the residual in place")
def _(a: Arguments) -> tuple[Any, Tensor]:
    total = a["residual"].add_(a["x"])
    return rms_norm(total, weight=a["weight"], eps=a["eps"]), total


wrong(rms_norm, "eps dropped")(lambda a: {"eps": 0.0})
instead(rms_norm, "last column left as it was")(lambda a: torch.cat((rms_norm(**a)[..., :-1], a["x"][..., -1:]), -1))
instead(rms_norm, "writes into x")(lambda a: a["x"].copy_(rms_norm(**a)))
spoilt(rms_norm, "returns fp32")(wide)
instead(add_rms_norm, "normalises x alone")(
    lambda a: (rms_norm(a["x"], weight=a["weight"], eps=a["eps"]), a["x"] + a["residual"])
)
instead(add_rms_norm, "returns the old residual")(lambda a: (add_rms_norm(**a)[0], a["residual"].clone()))
wrong(add_rms_norm, "eps dropped")(lambda a: {"eps": 0.0})
