"""Two products of few rows and the norm between them, in two launches: each does half of the norm (kernels/few.cu).

The second may be Triton's, where that is the faster one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from ... import ops
from ...ops.fused import Projection
from ...registry import Refusal, Target, Weight
from ...registry.op import Function
from ..triton.backend import triton
from ..triton.fused import gate_up, qkv
from ..triton.matrix import readable
from .backend import cuda
from .few import HOPPER, TILE, Product, gated, gated_refusal, refusal, rotated, rotated_refusal

FRONT, BEHIND = 1, 2


def first_refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel does not make the first product."""
    told = refusal({"weight": bound["first"], "target": bound["target"]})
    return told and f"as the first product {told}"


def second_refusal(bound: Mapping[str, Any], own: Refusal) -> Refusal:
    """Why nobody makes the second product, for which `own` is what our kernel says."""
    return own and (triton.missing() or readable(bound))


def front(target: Target, first: Weight, bias: Tensor | None, norm: Tensor) -> Function:
    """(x, residual) -> the sum times the norm's weight, the sum, the squares of each of its 64 numbers."""
    assert isinstance(first, Tensor)
    product, width = Product(target, first, bias, norm=FRONT, HEADS=0, GATED=0), first.shape[0]

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scaled, total = (torch.empty((len(x), width), dtype=x.dtype, device=x.device) for _ in "ab")
        squares = torch.empty((product.cut.rows, width // TILE), dtype=torch.float32, device=x.device)
        if scaled.numel():
            product(x, out=scaled, residual=residual.contiguous(), norm=norm, total=total, squares=squares)
        return scaled, total, squares

    return call


def joined(first: Function, second: Function) -> Function:
    """(x, residual, more) -> what the second product gives, and the sum."""

    def call(x: Tensor, residual: Tensor, *flow: Tensor) -> tuple[Tensor, Tensor]:
        scaled, total, squares = first(x, residual)
        return second(scaled, *flow, squares=squares), total

    return call


@cuda.kernel(
    ops.linear_norm_gate_up_silu,
    build=True,
    requires=HOPPER,
    when=lambda b: first_refusal(b) or second_refusal(b, gated_refusal(b)),
)
def linear_norm_gate_up_silu(
    target: Target, *, first: Weight, first_bias: Tensor | None = None, norm: Tensor, eps: float, weight: Weight
) -> Function:
    """The sum with the residual is the first product's epilogue."""
    before = front(target, first, first_bias, norm)
    if not gated_refusal({"weight": weight, "target": target}):
        return joined(before, gated(target, weight, norm=BEHIND, eps=eps))
    second = gate_up(target, weight, None, eps, behind=True)
    return joined(before, lambda x, squares: second(x, squares)[0])


@cuda.kernel(
    ops.linear_norm_qkv_rope_write,
    build=True,
    requires=HOPPER,
    when=lambda b: first_refusal(b) or second_refusal(b, rotated_refusal(b)),
)
def linear_norm_qkv_rope_write(
    target: Target,
    *,
    first: Weight,
    first_bias: Tensor | None = None,
    norm: Tensor,
    eps: float,
    **projection: Unpack[Projection],
) -> Function:
    """The same in front of queries, keys and values."""
    before = front(target, first, first_bias, norm)
    if not rotated_refusal({"target": target, **projection}):
        return joined(before, rotated(target, **projection, norm=BEHIND, eps=eps))
    second = qkv(target, None, eps, **projection, behind=True)
    return joined(before, lambda x, *flow, squares: second(x, squares, *flow)[0])
