"""Fused ops: compositions that a back end may run as one kernel. Without one, the best kernels of the parts run.

(`add_rms_norm` stands with its family, in norm.py.)
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from torch import Tensor

from rustinfer.registry import Binder, Weight, op
from rustinfer.registry.op import Function

from .activation import silu_mul
from .cache import write_kv
from .linear import linear
from .norm import add_rms_norm
from .rotary import rope


class Projection(TypedDict):
    """What `qkv_rope_write` binds, for those that pass it on."""

    weight: Weight
    bias: Tensor | None
    cos: Tensor
    sin: Tensor
    heads: int
    kv_heads: int


@op(rows=("x",), batch_invariant=False)
def gate_up_silu(x: Tensor, *, weight: Weight) -> Tensor:
    """The first half of a gated MLP: silu_mul(linear(x)).

    x: [T, width]; weight: [2 * hidden, width], the gate's rows first. Returns [T, hidden].
    """
    hidden: Tensor = silu_mul(linear(x, weight=weight))
    return hidden


@op(rows=("x", "residual"), batch_invariant=False)
def norm_gate_up_silu(
    x: Tensor, residual: Tensor, *, norm: Tensor, eps: float, weight: Weight
) -> tuple[Tensor, Tensor]:
    """add_rms_norm, then gate_up_silu of the normalised rows; returns (hidden, x + residual).

    x, residual: [T, width]; norm: [width]; weight: [2 * hidden, width].
    """
    normed, total = add_rms_norm(x, residual, weight=norm, eps=eps)
    return gate_up_silu(normed, weight=weight), total


@op(mutates=("k_cache", "v_cache"), rows=("x", "positions", "slots"), batch_invariant=False)
def qkv_rope_write(
    x: Tensor,
    positions: Tensor,
    slots: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    weight: Weight,
    bias: Tensor | None = None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> Tensor:
    """Project x to queries, keys and values, rotate queries and keys, and store keys and values in the cache.

    x: [T, width]; positions, slots: [T] int64 (a negative slot stores nothing); weight: [(heads + 2 * kv_heads) * D,
    width], rows of q, then k, then v; bias: as many or None; cos, sin: [max_positions, D / 2] fp32.
    Returns q [T, heads, D].
    """
    q, k, v = split_heads(linear(x, weight=weight, bias=bias), heads, kv_heads)
    write_kv(rope(k, positions, cos=cos, sin=sin), v, k_cache, v_cache, slots)
    rotated: Tensor = rope(q, positions, cos=cos, sin=sin)
    return rotated


@op(mutates=("k_cache", "v_cache"), rows=("x", "residual", "positions", "slots"), batch_invariant=False)
def norm_qkv_rope_write(
    x: Tensor,
    residual: Tensor,
    positions: Tensor,
    slots: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    norm: Tensor,
    eps: float,
    weight: Weight,
    bias: Tensor | None = None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> tuple[Tensor, Tensor]:
    """add_rms_norm, then qkv_rope_write of the normalised rows; returns (q, x + residual).

    x, residual: [T, width]; norm: [width]; the rest as in qkv_rope_write.
    """
    normed, total = add_rms_norm(x, residual, weight=norm, eps=eps)
    rest = {"weight": weight, "bias": bias, "cos": cos, "sin": sin, "heads": heads, "kv_heads": kv_heads}
    return qkv_rope_write(normed, positions, slots, k_cache, v_cache, **rest), total


def split_heads(projected: Tensor, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of the queries, keys and values [T, heads, D] in the rows of a joint projection."""
    split = projected.view(len(projected), heads + 2 * kv_heads, projected.shape[1] // (heads + 2 * kv_heads))
    return split[:, :heads], split[:, heads : heads + kv_heads], split[:, heads + kv_heads :]


def after(norm: Function, op: Function) -> Function:
    """What an op gives of the normalised sum of x and residual, and the sum."""

    def call(x: Tensor, residual: Tensor, *flow: Tensor) -> tuple[Tensor, Tensor]:
        normed, total = norm(x, residual)
        return op(normed, *flow), total

    return call


@gate_up_silu.compose
def _(ops: Binder, *, weight: Weight) -> Function:
    project, activate = ops.linear(weight=weight), ops.silu_mul()
    return lambda x: activate(project(x))


@norm_gate_up_silu.compose
def _(ops: Binder, *, norm: Tensor, eps: float, weight: Weight) -> Function:
    return after(ops.add_rms_norm(weight=norm, eps=eps), ops.gate_up_silu(weight=weight))


@qkv_rope_write.compose
def _(
    ops: Binder, *, weight: Weight, bias: Tensor | None = None, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
) -> Function:
    project, rotate, write = ops.linear(weight=weight, bias=bias), ops.rope(cos=cos, sin=sin), ops.write_kv()

    def call(x: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        q, k, v = split_heads(project(x), heads, kv_heads)
        write(rotate(k, positions), v, k_cache, v_cache, slots)
        rotated: Tensor = rotate(q, positions)
        return rotated

    return call


@norm_qkv_rope_write.compose
def _(ops: Binder, *, norm: Tensor, eps: float, **projection: Unpack[Projection]) -> Function:
    return after(ops.add_rms_norm(weight=norm, eps=eps), ops.qkv_rope_write(**projection))
