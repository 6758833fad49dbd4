"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import MAGNITUDES, Draw
from .mutants import Arguments, instead, wrong
from .precision import wide


@op(rows=("x", "positions"))
def rope(x: Tensor, positions: Tensor, *, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of each head by the row's position, in fp32.

    x: [T, H, D]; positions: [T] int64; cos, sin: [max_positions, D / 2] fp32. Returns x's shape and dtype.
    """
    c, s = cos[positions, None], sin[positions, None]
    a, b = wide(x).chunk(2, -1)
    return torch.cat((a * c - b * s, b * c + a * s), -1).to(x.dtype)


def table(d: Draw, positions: int, dim: int, theta: float = 10000.0) -> dict[str, Tensor]:
    """Cosines and sines of the plain rotary frequencies, for cases."""
    frequencies = theta ** (-torch.arange(0, dim, 2).double() / dim)
    angles = torch.outer(torch.arange(positions).double(), frequencies)
    return {"cos": d.put(angles.cos(), torch.float32), "sin": d.put(angles.sin(), torch.float32)}


@rope.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    for rows, heads, dim in ((1, 1, 2), (7, 9, 64), (3, 32, 128), (5, 3, 80), (33, 8, 64), (2, 5, 6)):
        d = draw(f"{rows}x{heads}x{dim}")
        flow = (d.normal(rows, heads, dim), d.integers(rows, below=2048))
        yield Case(d.name, flow, table(d, 2048, dim))
    for scale in MAGNITUDES:
        d = draw(f"5x4x64 times {scale:g}")
        yield Case(d.name, (d.normal(5, 4, 64, scale=scale), d.integers(5, below=64)), table(d, 64, 64))
    d = draw("outlier channels")
    yield Case(d.name, (d.outliers(4, 4, 128), d.integers(4, below=64)), table(d, 64, 128, theta=500000.0))
    d = draw("keys of a projection")
    projected = d.normal(6, 9 * 64).view(6, 9, 64)[:, 5:7]
    yield Case(d.name, (projected, d.integers(6, below=64)), table(d, 64, 64))
    yield Case((d := draw("no rows")).name, (d.normal(0, 4, 64), d.integers(0, below=64)), table(d, 64, 64))
    d = draw("decode")
    yield Case(d.name, (d.normal(8, 9, 64), d.integers(8, below=512)), table(d, 512, 64), decode=True)


@instead(rope, "pairs interleaved")
def _(a: Arguments) -> Tensor:
    c, s = a["cos"][a["positions"], None], a["sin"][a["positions"], None]
    even, odd = wide(a["x"])[..., ::2], wide(a["x"])[..., 1::2]
    return torch.stack((even * c - odd * s, odd * c + even * s), -1).flatten(-2).to(a["x"].dtype)


@instead(rope, "second half not rotated")
def _(a: Arguments) -> Tensor:
    half = a["x"].shape[-1] // 2
    return torch.cat((rope(**a)[..., :half], a["x"][..., half:]), -1)


wrong(rope, "rotates backwards")(lambda a: {"sin": -a["sin"]})
wrong(rope, "row number as position")(lambda a: {"positions": torch.arange(len(a["positions"]))})
instead(rope, "rotates in place")(lambda a: a["x"].copy_(rope(**a)))
