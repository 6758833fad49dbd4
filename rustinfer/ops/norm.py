"""Root-mean-square normalisation of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Binder, Case, op
from rustinfer.registry.op import Function

from .inputs import MAGNITUDES, Draw, strided
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

    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

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


@rms_norm.mutant("squares in x's own dtype")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


@rms_norm.mutant("eps dropped")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Any:
    return rms_norm(x, weight=weight, eps=0.0)


@rms_norm.mutant("eps outside the root")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    h = wide(x)
    return (h / (h.pow(2).mean(-1, keepdim=True).sqrt() + eps)).to(x.dtype) * weight


@rms_norm.mutant("mean over width - 1")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    h = wide(x)
    mean = h.pow(2).sum(-1, keepdim=True) / max(x.shape[-1] - 1, 1)
    return (h * torch.rsqrt(mean + eps)).to(x.dtype) * weight


@rms_norm.mutant("last column left as it was")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Any:
    return torch.cat((rms_norm(x, weight=weight, eps=eps)[..., :-1], x[..., -1:]), -1)


@rms_norm.mutant("writes into x")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Any:
    return x.copy_(rms_norm(x, weight=weight, eps=eps))


@rms_norm.mutant("returns fp32")
def _(x: Tensor, *, weight: Tensor, eps: float) -> Any:
    return wide(rms_norm(x, weight=weight, eps=eps))


@add_rms_norm.mutant("normalises x alone")
def _(x: Tensor, residual: Tensor, *, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return rms_norm(x, weight=weight, eps=eps), x + residual


@add_rms_norm.mutant("returns the old residual")
def _(x: Tensor, residual: Tensor, *, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return rms_norm(x + residual, weight=weight, eps=eps), residual.clone()


@add_rms_norm.mutant("updates the residual in place")
def _(x: Tensor, residual: Tensor, *, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return rms_norm(residual.add_(x), weight=weight, eps=eps), residual


@add_rms_norm.mutant("eps dropped")
def _(x: Tensor, residual: Tensor, *, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return rms_norm(x + residual, weight=weight, eps=0.0), x + residual
