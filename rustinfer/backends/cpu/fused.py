"""Projections fused with the norm before them and the activation, or rotation and cache write, after."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target, Weight

from .alone import alone
from .backend import PRODUCT, cpu
from .cache import Pages
from .library import library
from .plan import Pinned, projection, readable

Pair = tuple[Tensor, Tensor]


@cpu.kernel(ops.gate_up_silu, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def gate_up_silu(target: Target, *, weight: Weight) -> Callable[[Tensor], Tensor]:
    """Gate and up meet in registers and are rounded once, after the activation."""
    pinned, run, hidden = Pinned(target.dtype, weight), library().ri_gate_up, weight.shape[0] // 2
    address = pinned.address

    def call(x: Tensor, keep: Pinned = pinned) -> Tensor:
        x = x.contiguous()
        count = x.shape[0]
        out = x.new_empty(count, hidden)
        run(address, x.data_ptr(), None, count, None, out.data_ptr())
        return out

    return alone(target, weight, call, (0,))


@cpu.kernel(ops.norm_gate_up_silu, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def norm_gate_up_silu(target: Target, *, norm: Tensor, eps: float, weight: Weight) -> Callable[[Tensor, Tensor], Pair]:
    """The normalised rows stay in fp32 (or 16-bit integers) on their way to the product."""
    pinned = Pinned(target.dtype, weight, norm=norm.to(target.dtype))
    pinned.plan.eps = eps
    run, hidden, address = library().ri_gate_up, weight.shape[0] // 2, pinned.address
    empty_like = torch.empty_like

    def call(x: Tensor, residual: Tensor, keep: Pinned = pinned) -> Pair:
        x, residual = x.contiguous(), residual.contiguous()
        count = x.shape[0]
        out, total = x.new_empty(count, hidden), empty_like(x)
        run(
            address, x.data_ptr(), residual.data_ptr(),
            count, total.data_ptr(), out.data_ptr(),
        )  # fmt: skip
        return out, total

    return alone(target, weight, call, (0, 1))


@cpu.kernel(ops.qkv_rope_write, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def qkv_rope_write(
    target: Target, *, weight: Weight, bias: Tensor | None = None, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Queries and keys are rotated in fp32 before they are rounded; keys and values go straight to their slots."""
    pinned = projection(target.dtype, None, 0.0, weight, bias, cos, sin, heads, kv_heads)
    page = Pages()
    run, dim, address = library().ri_qkv, pinned.plan.dim, pinned.address

    def call(
        x: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor, keep: Pinned = pinned
    ) -> Tensor:
        x, positions, slots = x.contiguous(), positions.contiguous(), slots.contiguous()
        count = x.shape[0]
        q = x.new_empty(count, heads, dim)
        run(
            address, x.data_ptr(), None, positions.data_ptr(), slots.data_ptr(),
            *page(k_cache, v_cache), count, None, q.data_ptr(),
        )  # fmt: skip
        return q

    return alone(target, weight, call, (0, 1, 2))


@cpu.kernel(ops.norm_qkv_rope_write, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def norm_qkv_rope_write(
    target: Target,
    *,
    norm: Tensor,
    eps: float,
    weight: Weight,
    bias: Tensor | None = None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Pair]:
    """The whole way from the residual stream to rotated queries and a written cache."""
    pinned = projection(target.dtype, norm, eps, weight, bias, cos, sin, heads, kv_heads)
    page = Pages()
    run, dim, address, empty_like = library().ri_qkv, pinned.plan.dim, pinned.address, torch.empty_like

    def call(
        x: Tensor,
        residual: Tensor,
        positions: Tensor,
        slots: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        keep: Pinned = pinned,
    ) -> Pair:
        x, residual = x.contiguous(), residual.contiguous()
        positions, slots = positions.contiguous(), slots.contiguous()
        count = x.shape[0]
        q, total = x.new_empty(count, heads, dim), empty_like(x)
        run(
            address, x.data_ptr(), residual.data_ptr(),
            positions.data_ptr(), slots.data_ptr(), *page(k_cache, v_cache),
            count, total.data_ptr(), q.data_ptr(),
        )  # fmt: skip
        return q, total

    return alone(target, weight, call, (0, 1, 2, 3))
