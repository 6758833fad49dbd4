"""Add and norm behind a library's product, which leaves the sums of two shares of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import PackedWeight, Refusal, Target, Weight
from ...registry.op import Function
from ..cublas.shares import SHARES, in_shares
from ..cublas.timed import multipliable
from .backend import INTERPRETED, triton
from .linear import library_product
from .norm import norm as norm_of

LEAST, MOST = 65, 256
"""Rows whose products have too few tiles for the chip as a whole, and too many for kernels of our own."""
NORM = "norm 1"
"""What stands behind the products in choices that were kept: counted on when its kernel is another."""
COLUMNS = 64
"""Numbers of 16 bits in the library's step along the columns."""


def sharable(bound: Mapping[str, Any]) -> Refusal:
    """Why a product is not made in shares, or None."""
    weight, target = bound["weight"], bound["target"]
    if isinstance(weight, PackedWeight):
        return "reads dense weights only"
    if target.rows is None or not LEAST <= target.rows <= MOST:
        return f"pays for {LEAST} to {MOST} rows"
    if weight.dtype.itemsize != 2 or weight.shape[1] % (SHARES * COLUMNS):
        return f"needs 16-bit weights whose columns are a multiple of {SHARES * COLUMNS}"
    return None


def multiplied(x: Tensor, weight: Tensor) -> Tensor:
    """What the library leaves, for the interpreter: [SHARES, T, N] in fp32."""
    pairs = zip(x.chunk(SHARES, 1), weight.chunk(SHARES, 1), strict=True)
    return torch.stack([part.float() @ share.float().T for part, share in pairs])


@triton.kernel(ops.linear_add_rms_norm, build=True, when=sharable)
def linear_add_rms_norm(
    target: Target, *, weight: Weight, bias: Tensor | None = None, norm: Tensor, eps: float
) -> Function:
    """In shares where that is the faster way here: the norm reads twice as much, and nobody adds them up before it."""
    assert isinstance(weight, Tensor)
    whole, apart = library_product(target, weight, bias), norm_of(target, norm, eps, add=True)
    added = norm_of(target, norm, eps, add=True, shares=SHARES, bias=bias)
    product = in_shares(target, weight, bias, apart, added, NORM)
    if INTERPRETED:
        product = partial(multiplied, weight=weight)

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        shared = product if len(x) == target.rows and multipliable(x) else None
        pair: tuple[Tensor, Tensor] = added(shared(x), residual) if shared else apart(whole(x), residual)
        return pair

    return call
