"""Paged attention, for steps with one row a sequence and for any other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import Target
from ...registry.op import Function
from .backend import INTERPRETED, triton
from .launch import pdl, power
from .tuning import SHARED, SHARED_SMALL

LOG2E = 1.4426950408889634
MOST_SPLITS = 64
MANY_ROWS = 64  # where their number is not known
LONG = 64  # rows from which on a prompt gets the tiles of long ones
LONGER, LONGEST = 512, 1024  # rows from which on narrow heads have wider tiles; and more blocks at once
REGISTERS = 168  # a thread, so that three blocks fit on a multiprocessor; the way by the page table asks for 252
AT_ONCE = 8  # shares that are merged in one go


@triton.kernel(ops.attention, build=True, batch_invariant=True)
def attention(
    target: Target, *, scale: float, window: int = 0, heads: int = 0, kv_heads: int = 0, dim: int = 0
) -> Function:
    """Flash decoding where the target decodes, flash attention over packed heads otherwise.

    Where each row must come out alike whatever the others are, tiles are those of long prompts, all are masked, and
    none comes by TMA: how a sequence's pages lie would show.
    """
    return (decode if target.decode and not target.invariant else prefill)(target, scale, window)


def splits(target: Target, rows: int, kv_heads: int) -> int:
    """Into how many shares a sequence's positions may be cut, so that a small batch still fills the chip."""
    blocks = 4 * 132
    return min(power(-(-blocks // (rows * kv_heads))), MOST_SPLITS)


def least_positions(rows: int, narrow: bool) -> int:
    """The smallest share worth a program of its own: a large batch fills the chip without sharing."""
    return 64 if rows <= 8 else 128 if rows <= 16 else 256 if rows <= (32 if narrow else 16) else 1024


def decode_blocks(target: Target, wide: int) -> dict[str, int]:
    """Positions a tile, warps and stages of the decode kernel, by rows; docs/notes has the measurements."""
    rows, narrow, size = target.rows or MANY_ROWS, wide <= 64, wide * target.dtype.itemsize
    if rows == 1:
        positions, warps, stages = 128, 4, 3
    elif rows <= (16 if narrow else 8):
        positions, warps, stages = 64, 2, 3
    elif narrow:
        positions, warps, stages = (128, 4, 2) if rows <= 32 or 96 < rows <= 128 else (64, 4, 4 if rows <= 64 else 3)
    else:
        positions, warps, stages = 64, 4, 4 if rows <= 32 else 2
    positions = min(positions, max(32768 // size, 16))
    large = SHARED if target.sm is None or target.sm >= (9, 0) else SHARED_SMALL
    return {"BN": positions, "num_warps": warps, "num_stages": min(stages, 1 + large // (2 * positions * size))}


def decode(target: Target, scale: float, window: int) -> Function:
    """One row a sequence; long sequences are shared out over programs."""
    from .kernels.attention import decode_kernel

    config = {"WINDOW": window, **pdl(target)}

    def call(
        q: Tensor, k_cache: Tensor, v_cache: Tensor, query_starts: Tensor, lengths: Tensor, pages: Tensor
    ) -> Tensor:
        sequences, heads, dim = q.shape
        kv_heads, page = k_cache.shape[1:3]
        out = torch.empty((sequences, heads, dim), dtype=q.dtype, device=q.device)
        if not sequences:
            return out
        rows, shares = target.rows or sequences, splits(target, target.rows or sequences, kv_heads)
        tall, wide = power(heads // kv_heads, 16), power(dim, 16)
        places = rows * kv_heads
        block = decode_blocks(target, wide)
        decode_kernel[(kv_heads, sequences, shares)](
            q, k_cache, v_cache, lengths, pages, out,
            target.workspace.scratch(q.device, "attention", places * shares * tall * wide),
            target.workspace.scratch(q.device, "attention peaks", places * shares * tall * 2),
            target.workspace.counters(q.device, places),
            q.stride(0), q.stride(1), *k_cache.stride()[:3], pages.stride(0), pages.shape[1], scale * LOG2E,
            kv_heads,
            DIM=dim, GROUP=heads // kv_heads, WIDE=power(heads // kv_heads), PAGE=page, BM=tall, BD=wide, SPLITS=shares,
            MIN_TILES=max(least_positions(rows, wide <= 64) // block["BN"], 1), AT_ONCE=min(shares, AT_ONCE),
            **block, **config,
        )  # fmt: skip
        return out

    return call


def prefill(target: Target, scale: float, window: int) -> Function:
    """Blocks of rows of one sequence times the heads that share a key head. Every row must belong to a sequence."""
    from .kernels.prefill import prefill_kernel

    config = {"WINDOW": window, "ALIKE": target.invariant, **pdl(target)}

    def call(
        q: Tensor, k_cache: Tensor, v_cache: Tensor, query_starts: Tensor, lengths: Tensor, pages: Tensor
    ) -> Tensor:
        rows, heads, dim = q.shape
        kv_heads, page = k_cache.shape[1:3]
        out = torch.empty((rows, heads, dim), dtype=q.dtype, device=q.device)
        if not out.numel():
            return out
        group, sequences = heads // kv_heads, len(lengths)
        block = blocks(target, LONG if target.invariant else rows, group, power(dim, 16))
        boxes = tiles(target, k_cache, v_cache, block["BN"]) if not window and not target.invariant else None
        prefill_kernel[(kv_heads, rows // (block["BM"] // power(group)) + sequences)](
            q, k_cache, v_cache, *(boxes or (k_cache, v_cache)), query_starts, lengths, pages, out, sequences,
            q.stride(0), q.stride(1), *k_cache.stride()[:3], pages.stride(0), scale * LOG2E, kv_heads,
            DIM=dim, GROUP=group, WIDE=power(group), PAGE=page, BD=power(dim, 16), TMA=boxes is not None,
            **block, **config,
        )  # fmt: skip
        return out

    return call


def tiles(target: Target, k_cache: Tensor, v_cache: Tensor, positions: int) -> tuple[Any, Any] | None:
    """Descriptions of both caches in boxes of so many positions of one head; None where TMA cannot read them."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    page, dim = k_cache.shape[2:]
    fits = k_cache.is_contiguous() and positions % page == 0 and 32 <= dim == power(dim) and page == power(page)
    if not (INTERPRETED or (target.sm or (0, 0)) >= (9, 0)) or k_cache.dtype.itemsize != 2 or not fits:
        return None
    box = [positions // page, 1, page, dim]
    return TensorDescriptor.from_tensor(k_cache, box), TensorDescriptor.from_tensor(v_cache, box)


def blocks(target: Target, rows: int, group: int, wide: int) -> dict[str, int]:
    """Rows times heads of a program, positions a tile, warps and stages: bounded by shared memory for wide heads."""
    if target.dtype == torch.float32 or wide > 128:
        return {"BM": power(power(group), 16), "BN": 32, "num_warps": 4, "num_stages": 1}
    if wide <= 64:
        block = {"BM": max(64, power(group)), "num_warps": 4}
        if rows < LONGER or (target.sm or (0, 0)) < (9, 0):
            return block | {"BN": 64, "num_stages": 2 if rows >= LONG else 3}
        # So many blocks are there at once, each waiting for its own tiles: fewer and wider ones are sooner over.
        if rows < LONGEST:
            return block | {"BN": 128, "num_stages": 3}
        return block | {"BN": 128, "num_stages": 2, "maxnreg": REGISTERS}
    return {"BM": max(128 if rows >= LONG else 64, power(group)), "BN": 64, "num_warps": 4, "num_stages": 2}
