"""Gated activations: the first half of the last axis gates the second."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import MAGNITUDES, Draw, strided
from .precision import wide


@op(rows=("x",))
def silu_mul(x: Tensor) -> Tensor:
    """SiLU of the first half of the last axis times the second half, in fp32, rounded once.

    x: [T, 2 * width]. Returns [T, width] in x's dtype.
    """
    gate, up = wide(x).chunk(2, -1)
    return (F.silu(gate) * up).to(x.dtype)


@op(rows=("x",))
def gelu_mul(x: Tensor) -> Tensor:
    """GELU (tanh form) of the first half of the last axis times the second half, in fp32, rounded once.

    x: [T, 2 * width]. Returns [T, width] in x's dtype.
    """
    gate, up = wide(x).chunk(2, -1)
    return (F.gelu(gate, approximate="tanh") * up).to(x.dtype)


SHAPES = ((1, 16), (7, 2 * 1536), (3, 2 * 33), (1, 2), (33, 2 * 576), (2, 2 * 8192))


@silu_mul.cases
@gelu_mul.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

    for rows, width in SHAPES:
        d = draw(f"{rows}x{width}")
        yield Case(d.name, (d.normal(rows, width),))
    for scale in MAGNITUDES:
        d = draw(f"5x128 times {scale:g}")
        yield Case(d.name, (d.normal(5, 128, scale=scale),))
    yield Case((d := draw("wide range")).name, (d.uniform(4, 512, low=-12, high=12),))
    yield Case((d := draw("outlier channels")).name, (d.outliers(4, 512),))
    yield Case((d := draw("no rows")).name, (d.normal(0, 128),))
    yield Case((d := draw("strided")).name, (strided(d.normal(5, 192)),))
    yield Case((d := draw("decode")).name, (d.normal(8, 2048),), decode=True)


@silu_mul.mutant("halves swapped")
def _(x: Tensor) -> Tensor:
    up, gate = wide(x).chunk(2, -1)
    return (F.silu(gate) * up).to(x.dtype)


@silu_mul.mutant("pairs interleaved")
def _(x: Tensor) -> Tensor:
    return (F.silu(wide(x[..., ::2])) * wide(x[..., 1::2])).to(x.dtype)


@silu_mul.mutant("sigmoid without its input")
def _(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, -1)
    return (gate.sigmoid() * up).to(x.dtype)


@silu_mul.mutant("exponential overflows")
def _(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, -1)
    return (gate * gate.exp() / (1 + gate.exp()) * up).to(x.dtype)


@gelu_mul.mutant("halves swapped")
def _(x: Tensor) -> Tensor:
    up, gate = wide(x).chunk(2, -1)
    return (F.gelu(gate, approximate="tanh") * up).to(x.dtype)


@gelu_mul.mutant("erf form")
def _(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, -1)
    return (F.gelu(gate) * up).to(x.dtype)


@gelu_mul.mutant("sigmoid form")
def _(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, -1)
    return (gate * (1.702 * gate).sigmoid() * up).to(x.dtype)


@gelu_mul.mutant("cubic term dropped")
def _(x: Tensor) -> Tensor:
    gate, up = wide(x).chunk(2, -1)
    return (0.5 * gate * (1 + torch.tanh(0.7978845608 * gate)) * up).to(x.dtype)
