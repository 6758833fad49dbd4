"""A product, the norm behind it and the product behind that as one op, which needs no launch for the norm alone.

A row's factor is known when all of the row is: a kernel may go on with rows that lack it, and multiply its sums by it.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from rustinfer.registry import Binder, Weight, op
from rustinfer.registry.op import Function

from .fused import Projection, norm_gate_up_silu, norm_qkv_rope_write
from .linear import linear


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


def behind(project: Function, op: Function) -> Function:
    """What an op gives of projected rows."""
    return lambda x, *flow: op(project(x), *flow)


@linear_norm_gate_up_silu.compose
def _(
    ops: Binder, *, first: Weight, first_bias: Tensor | None = None, norm: Tensor, eps: float, weight: Weight
) -> Function:
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
    qkv = ops.norm_qkv_rope_write(norm=norm, eps=eps, **projection)
    return behind(ops.linear(weight=first, bias=first_bias), qkv)
