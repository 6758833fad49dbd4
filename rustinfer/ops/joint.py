"""A product and the norm behind it as one op, and both with the product behind them.

A norm may add up what a product has left in parts. And a row's factor is known when all of the row is: a kernel for all
three may go on with rows that lack it, and multiply its sums by it, so that the norm needs no launch of its own.
"""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from rustinfer.registry import Binder, Weight, op
from rustinfer.registry.op import Function

from .fused import Projection, after, norm_gate_up_silu, norm_qkv_rope_write
from .linear import linear
from .norm import add_rms_norm


@op(rows=("x", "residual"), batch_invariant=False)
def linear_add_rms_norm(
    x: Tensor, residual: Tensor, *, weight: Weight, bias: Tensor | None = None, norm: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """add_rms_norm of a projection: returns (normalised, linear(x) + residual).

    x: [T, K]; residual: [T, width]; weight: [width, K]; bias: [width] or None; norm: [width].
    """
    projected = linear(x, weight=weight, bias=bias)
    pair: tuple[Tensor, Tensor] = add_rms_norm(projected, residual, weight=norm, eps=eps)
    return pair


@op(rows=("x", "residual"), batch_invariant=False)
def linear_norm_gate_up_silu(
    x: Tensor,
    residual: Tensor,
    *,
    first: Weight,
    first_bias: Tensor | None = None,
    norm: Tensor,
    eps: float,
    weight: Weight,
) -> tuple[Tensor, Tensor]:
    """norm_gate_up_silu of a projection: returns (hidden, linear(x) + residual).

    x: [T, K]; residual: [T, width]; first: [width, K]; first_bias: [width] or None; the rest as in norm_gate_up_silu.
    """
    projected = linear(x, weight=first, bias=first_bias)
    pair: tuple[Tensor, Tensor] = norm_gate_up_silu(projected, residual, norm=norm, eps=eps, weight=weight)
    return pair


@op(mutates=("k_cache", "v_cache"), rows=("x", "residual", "positions", "slots"), batch_invariant=False)
def linear_norm_qkv_rope_write(
    x: Tensor,
    residual: Tensor,
    positions: Tensor,
    slots: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    first: Weight,
    first_bias: Tensor | None = None,
    norm: Tensor,
    eps: float,
    weight: Weight,
    bias: Tensor | None = None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> tuple[Tensor, Tensor]:
    """norm_qkv_rope_write of a projection: returns (q, linear(x) + residual).

    x: [T, K]; residual: [T, width]; first: [width, K]; first_bias: [width] or None; the rest as in norm_qkv_rope_write.
    """
    projected, flow = linear(x, weight=first, bias=first_bias), (positions, slots, k_cache, v_cache)
    rest = {"weight": weight, "bias": bias, "cos": cos, "sin": sin, "heads": heads, "kv_heads": kv_heads}
    pair: tuple[Tensor, Tensor] = norm_qkv_rope_write(projected, residual, *flow, norm=norm, eps=eps, **rest)
    return pair


def normed(ops: Binder, other: str, **bound: Any) -> Function | None:
    """The first product with the norm, if somebody has those as one and no pin names the `other` op with the norm."""
    return None if other in ops.policy.pins else ops.whole("linear_add_rms_norm", **bound)


def behind(project: Function, op: Function) -> Function:
    """What an op gives of projected rows."""
    return lambda x, *flow: op(project(x), *flow)


@linear_add_rms_norm.compose
def _(ops: Binder, *, weight: Weight, bias: Tensor | None = None, norm: Tensor, eps: float) -> Function:
    return behind(ops.linear(weight=weight, bias=bias), ops.add_rms_norm(weight=norm, eps=eps))


@linear_norm_gate_up_silu.compose
def _(
    ops: Binder, *, first: Weight, first_bias: Tensor | None = None, norm: Tensor, eps: float, weight: Weight
) -> Function:
    if before := normed(ops, "norm_gate_up_silu", weight=first, bias=first_bias, norm=norm, eps=eps):
        return after(before, ops.gate_up_silu(weight=weight))
    return behind(ops.linear(weight=first, bias=first_bias), ops.norm_gate_up_silu(norm=norm, eps=eps, weight=weight))


@linear_norm_qkv_rope_write.compose
def _(
    ops: Binder,
    *,
    first: Weight,
    first_bias: Tensor | None = None,
    norm: Tensor,
    eps: float,
    **projection: Unpack[Projection],
) -> Function:
    if before := normed(ops, "norm_qkv_rope_write", weight=first, bias=first_bias, norm=norm, eps=eps):
        return after(before, ops.qkv_rope_write(**projection))
    qkv = ops.norm_qkv_rope_write(norm=norm, eps=eps, **projection)
    return behind(ops.linear(weight=first, bias=first_bias), qkv)
