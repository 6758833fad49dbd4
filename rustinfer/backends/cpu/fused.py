"""Projections fused with the norm before them and the activation, or rotation and cache write, after."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.ops.fused import Projection
from rustinfer.registry import Target, Weight
from rustinfer.registry.op import Function

from .alone import alone
from .backend import PRODUCT, cpu
from .cache import Pages
from .library import library
from .plan import Pinned, projected, readable


def gate_up(target: Target, weight: Weight, norm: Tensor | None, eps: float) -> Function:
    """(x, residual) -> (hidden, x + residual); without a norm there is no residual, and no sum."""
    pinned = Pinned(target.dtype, weight, eps, norm=norm)
    run, hidden, address, empty_like = library().ri_gate_up, weight.shape[0] // 2, pinned.address, torch.empty_like

    def call(x: Tensor, residual: Tensor | None, keep: Pinned = pinned) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous()
        count, total, added, sums = x.shape[0], None, None, None
        if residual is not None:
            residual, total = residual.contiguous(), empty_like(x)
            added, sums = residual.data_ptr(), total.data_ptr()
        out = x.new_empty(count, hidden)
        run(address, x.data_ptr(), added, count, sums, out.data_ptr())
        return out, total

    return call


def qkv(target: Target, norm: Tensor | None, eps: float, **bound: Unpack[Projection]) -> Function:
    """(x, residual, positions, slots, caches) -> (q, x + residual); without a norm there is no residual, and no sum."""
    pinned, heads = projected(target.dtype, norm, eps, **bound), bound["heads"]
    run, dim, address, page, empty_like = library().ri_qkv, pinned.plan.dim, pinned.address, Pages(), torch.empty_like

    def call(
        x: Tensor, residual: Tensor | None, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor,
        keep: Pinned = pinned,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        x, positions, slots = x.contiguous(), positions.contiguous(), slots.contiguous()
        count, total, added, sums = x.shape[0], None, None, None
        if residual is not None:
            residual, total = residual.contiguous(), empty_like(x)
            added, sums = residual.data_ptr(), total.data_ptr()
        q = x.new_empty(count, heads, dim)
        run(
            address, x.data_ptr(), added, positions.data_ptr(), slots.data_ptr(), *page(k_cache, v_cache),
            count, sums, q.data_ptr(),
        )  # fmt: skip
        return q, total

    return call


@cpu.kernel(ops.gate_up_silu, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def gate_up_silu(target: Target, *, weight: Weight) -> Function:
    """Gate and up meet in registers and are rounded once, after the activation."""
    project = gate_up(target, weight, None, 0.0)
    return alone(target, weight, lambda x: project(x, None)[0], (0,))


@cpu.kernel(ops.norm_gate_up_silu, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def norm_gate_up_silu(target: Target, *, norm: Tensor, eps: float, weight: Weight) -> Function:
    """The normalised rows stay in fp32 (or 16-bit integers) on their way to the product."""
    return alone(target, weight, gate_up(target, weight, norm, eps), (0, 1))


@cpu.kernel(ops.qkv_rope_write, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def qkv_rope_write(target: Target, **projection: Unpack[Projection]) -> Function:
    """Queries and keys are rotated in fp32 before they are rounded; keys and values go straight to their slots."""
    project = qkv(target, None, 0.0, **projection)
    return alone(target, projection["weight"], lambda x, *rest: project(x, None, *rest)[0], (0, 1, 2))


@cpu.kernel(ops.norm_qkv_rope_write, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def norm_qkv_rope_write(target: Target, *, norm: Tensor, eps: float, **projection: Unpack[Projection]) -> Function:
    """The whole way from the residual stream to rotated queries and a written cache."""
    return alone(target, projection["weight"], qkv(target, norm, eps, **projection), (0, 1, 2, 3))
