"""Fused projections: gate and up with SiLU; qkv with rotation and cache write; for one row, with the norm in front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from ... import ops
from ...ops.fused import Projection
from ...registry import Refusal, Target, Weight, dense
from ...registry.op import Function
from . import tuning
from .backend import on, triton
from .gated import gateable, gated
from .launch import Shares, pdl, power
from .linear import library_product
from .matrix import Matrix, few, readable


def gate_up(target: Target, weight: Weight, norm: Tensor | None, eps: float, *, behind: bool = False) -> Function:
    """(x, residual) -> (hidden, x + residual); without a norm the residual is ignored and the sum is not written.

    `behind` a norm whose factor x [T, K] lacks, T being more than 1: (x, squares) -> (hidden, something). Squares are
    those of each 64 numbers of a row, [T or more, K / 64] in fp32.
    """
    from .kernels.fused import gate_up_kernel

    matrix, most, hidden = Matrix.of(weight), target.rows or 1, weight.shape[0] // 2
    config = matrix.config(target, most, tuning.choose(target, matrix, most, pairs=True))
    config |= {"NORM": norm is not None, "KP": power(matrix.columns), "HIDDEN": hidden, "BEHIND": behind}

    def grid(rows: int) -> tuple[int, int, int]:
        return -(-rows // config["BM"]), -(-hidden // (config["BR"] // 2)), config["SPLITS"]

    shares = Shares(target, grid(most), config)

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.empty((len(x), hidden), dtype=x.dtype, device=x.device)
        total = out if norm is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if out.numel():
            gate_up_kernel[grid(len(x))](
                x, residual, x if norm is None else norm, eps, total, *matrix.parts, out, *shares(out), len(x),
                x.stride(0), **config,
            )  # fmt: skip
        return out, total

    return call


def fusable(bound: Mapping[str, Any]) -> Refusal:
    """Any weight for a few rows; for many, what `gated` takes."""
    return readable(bound) or (None if few(bound["target"]) else gateable(bound))


@triton.kernel(ops.gate_up_silu, build=True, when=fusable)
def gate_up_silu(target: Target, *, weight: Weight) -> Function:
    """Of a few rows, gate and up rows read in pairs; of many, a product by TMA."""
    if not few(target):
        return gated(target, dense(weight))
    call = gate_up(target, weight, None, 0.0)
    return lambda x: call(x, x)[0]


@triton.kernel(ops.norm_gate_up_silu, build=True, requires=on(rows=1), when=readable)
def norm_gate_up_silu(target: Target, *, norm: Tensor, eps: float, weight: Weight) -> Function:
    """Every program normalises the row for itself while its weights arrive."""
    return gate_up(target, weight, norm, eps)


def qkv(
    target: Target, norm: Tensor | None, eps: float, weight: Weight, bias: Tensor | None,
    cos: Tensor, sin: Tensor, heads: int, kv_heads: int, *, behind: bool = False,
) -> Function:  # fmt: skip
    """(x, residual, positions, slots, caches) -> (q, x + residual), for a few rows; `behind` as in `gate_up`."""
    from .kernels.fused import qkv_kernel

    matrix, most, dim = Matrix.of(weight), target.rows or 1, 2 * cos.shape[1]
    choice = tuning.choose(target, matrix, most, pairs=True)
    config = matrix.config(target, most, choice | {"BR": min(choice["BR"], power(dim, 16 if most > 1 else 2))})
    config |= {"NORM": norm is not None, "KP": power(matrix.columns), "BIAS": bias is not None, "BEHIND": behind}
    config |= {"HEADS": heads, "KV_HEADS": kv_heads, "DIM": dim}
    blocks = (heads + 2 * kv_heads) * -(-(dim // 2) // (config["BR"] // 2))
    added = matrix.parts[0] if bias is None else bias
    shares = Shares(target, (-(-most // config["BM"]), blocks, config["SPLITS"]), config)

    def call(
        x: Tensor, residual: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        q = torch.empty((len(x), heads, dim), dtype=x.dtype, device=x.device)
        total = q if norm is None else torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if q.numel():
            qkv_kernel[(-(-len(x) // config["BM"]), blocks, config["SPLITS"])](
                x, residual, x if norm is None else norm, eps, total, positions, slots, k_cache, v_cache, *matrix.parts,
                added, cos, sin, q, *shares(q), len(x), x.stride(0), *k_cache.stride()[:3],
                PAGE=k_cache.shape[2], **config,
            )  # fmt: skip
        return q, total

    return call


def rotate_and_store(
    target: Target, weight: Weight, bias: Tensor | None, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
) -> Function:
    """For many rows: the library's matrix product, then one kernel for all that follows it."""
    from .kernels.rotary import rope_write_kernel

    every, half = heads + 2 * kv_heads, cos.shape[1]
    width = power(half)
    block = min(power(every), max(2048 // width, 1))
    config = {"HEADS": heads, "KV_HEADS": kv_heads, "HALF": half, "BH": block, "BD": width, **pdl(target)}
    product = library_product(target, weight, bias)

    def call(x: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        joint = product(x)
        q = torch.empty((len(x), heads, 2 * half), dtype=x.dtype, device=x.device)
        if q.numel():
            grid = (len(x), -(-every // block))
            strides = k_cache.stride()[:3]
            rope_write_kernel[grid](
                joint, positions, slots, cos, sin, q, k_cache, v_cache, *strides, PAGE=k_cache.shape[2], **config
            )
        return q

    return call


@triton.kernel(ops.qkv_rope_write, build=True, when=readable)
def qkv_rope_write(target: Target, **projection: Unpack[Projection]) -> Function:
    """A few rows in one kernel; many rows as a library product and one kernel behind it."""
    if few(target):
        call = qkv(target, None, 0.0, **projection)
        return lambda x, *rest: call(x, x, *rest)[0]
    return rotate_and_store(target, **projection)


@triton.kernel(ops.norm_qkv_rope_write, build=True, requires=on(rows=1), when=readable)
def norm_qkv_rope_write(target: Target, *, norm: Tensor, eps: float, **projection: Unpack[Projection]) -> Function:
    """Every program normalises the row for itself while its weights arrive."""
    return qkv(target, norm, eps, **projection)
