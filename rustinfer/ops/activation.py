"""Gated activations: the first half of the last axis gates the second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer.registry import Case, Op, op

from .inputs import MAGNITUDES, Draw, strided
from .mutants import instead, wrong
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
    draw = partial(Draw, dtype=dtype, device=device)
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


def gated(op: Op, name: str, product: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Register as a mutant another product of gate and up, in fp32."""
    instead(op, name)(lambda a: product(*wide(a["x"]).chunk(2, -1)).to(a["x"].dtype))


gated(silu_mul, "halves swapped", lambda gate, up: F.silu(up) * gate)
gated(silu_mul, "sigmoid without its input", lambda gate, up: gate.sigmoid() * up)
gated(silu_mul, "exponential overflows", lambda gate, up: gate * gate.exp() / (1 + gate.exp()) * up)
wrong(silu_mul, "pairs interleaved")(lambda a: {"x": torch.cat((a["x"][..., ::2], a["x"][..., 1::2]), -1)})
gated(gelu_mul, "halves swapped", lambda gate, up: F.gelu(up, approximate="tanh") * gate)
gated(gelu_mul, "erf form", lambda gate, up: F.gelu(gate) * up)
gated(gelu_mul, "sigmoid form", lambda gate, up: gate * (1.702 * gate).sigmoid() * up)
gated(gelu_mul, "cubic term dropped", lambda gate, up: 0.5 * gate * (1 + torch.tanh(0.7978845608 * gate)) * up)
