"""Attention of steps with many rows: blocks of rows of one sequence, times the heads that share a key head.

Where a sequence's pages follow each other in memory, as those of a fresh prompt do, tiles of keys and values come by
TMA, a box of several pages at a time; otherwise every position is looked up in the page table.
"""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .attention import absorb
from .common import begin, wait

AT_ONCE = tl.constexpr(32)
"""Sequences that are asked together whether a block is behind their beginning: a search waits for each in turn."""


@triton.jit
def sequence_of(starts, block, S, BQ: tl.constexpr):
    """The sequence that block `block` of BQ rows belongs to: the last s with starts[s] // BQ + s <= block."""
    before = 0
    for at in range(0, S, AT_ONCE):
        j = at + tl.arange(0, AT_ONCE)
        start = tl.load(starts + j, mask=j < S, other=0)
        before += tl.sum(((start // BQ + j <= block) & (j < S)).to(tl.int32), 0)
    return before - 1


@triton.jit
def consecutive(table, count):
    """Whether the first `count` pages of a table follow each other in memory."""
    first = tl.load(table)
    odd = 0
    for start in range(0, count, 256):
        at = start + tl.arange(0, 256)
        page = tl.load(table + at, mask=at < count, other=0)
        odd += tl.sum(((page != first + at) & (at < count)).to(tl.int32), 0)
    return odd == 0


@triton.jit
def stream(
    acc, peak, norm, q, k_tiles, v_tiles, first, g, start, end, scale, position,
    DIM: tl.constexpr, PAGE: tl.constexpr, BN: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Positions `start` to `end` of consecutive pages from `first` on into the running softmax, as `absorb` does.

    Boxes may reach beyond `end`, into pages of others: what is there is masked, as the numbers of all pages are finite.
    """
    for tile in tl.range(start, end, BN):
        page = first + tile // PAGE
        k = tl.reshape(k_tiles.load([page, g, 0, 0]), (BN, DIM))
        scores = tl.dot(q, tl.trans(k))
        if MASKED:
            n = tile + tl.arange(0, BN)
            visible = (position[:, None] >= n[None, :]) & (n < end)[None, :]
            scores = tl.where(visible, scores, -float("inf"))
        highest = tl.maximum(peak, tl.max(scores, 1) * scale)
        anchor = highest
        if MASKED:
            anchor = tl.where(highest == -float("inf"), 0.0, highest)
        weights = tl.exp2(scores * scale - anchor[:, None])
        shrink = tl.exp2(peak - anchor)
        norm = norm * shrink + tl.sum(weights, 1)
        v = tl.reshape(v_tiles.load([page, g, 0, 0]), (BN, DIM))
        acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None])
        peak = highest
    return acc, peak, norm


@triton.jit
def look_up(
    acc, peak, norm, q, k_cache, v_cache, table, position, whole, newest, at,
    head_offset, page_stride, slot_stride, scale,
    DIM: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Positions up to `newest` of any pages into the running softmax; before `whole` all are visible, or none."""
    for tile in range(0, whole if WINDOW == 0 else 0, BN):
        n = tile + tl.arange(0, BN)
        acc, peak, norm = absorb(
            acc, peak, norm, q, k_cache, v_cache, tl.load(table + n // PAGE), position, n, at,
            head_offset, page_stride, slot_stride, scale, newest, DIM, PAGE, WINDOW, False)  # fmt: skip
    for tile in range(whole, newest, BN):
        n = tile + tl.arange(0, BN)
        page = tl.load(table + n // PAGE, mask=n < newest, other=0)
        acc, peak, norm = absorb(
            acc, peak, norm, q, k_cache, v_cache, page, position, n, at,
            head_offset, page_stride, slot_stride, scale, newest, DIM, PAGE, WINDOW, True)  # fmt: skip
    return acc, peak, norm


@triton.jit
def prefill_kernel(
    q, k_cache, v_cache, k_tiles, v_tiles, starts, lengths, pages, out, S,
    q_row, q_head, page_stride, head_stride, slot_stride, pages_row, scale, KV_HEADS,
    DIM: tl.constexpr, GROUP: tl.constexpr, WIDE: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    BM: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
    TMA: tl.constexpr, ALIKE: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Any rows of any sequences. A program takes BM / WIDE rows of a sequence with the GROUP heads of one key head.

    k_tiles and v_tiles describe the caches [pages, KV_HEADS, PAGE, DIM] in boxes of BN positions of a head, if TMA.
    ALIKE masks every tile: which rows share a program then shows in no bit.
    """
    begin(PDL)
    wait(PDL)
    BQ: tl.constexpr = BM // WIDE
    # The last rows of a sequence take most work, so they start first, of all heads.
    block = tl.num_programs(1) - 1 - tl.program_id(1)
    g = tl.program_id(0)
    s = sequence_of(starts, block, S, BQ)
    begins = tl.load(starts + s)
    count = tl.load(starts + s + 1) - begins
    row = (block - (begins // BQ + s)) * BQ
    if row < count:
        length = tl.load(lengths + s)
        m = tl.arange(0, BM)
        at = tl.arange(0, BD)
        token = row + m // WIDE
        head = m % WIDE
        present = (token < count) & (head < GROUP)
        inside = present[:, None] & (at < DIM)[None, :]
        source = (begins + token).to(tl.int64)
        query = tl.load(
            q + source[:, None] * q_row + (g * GROUP + head[:, None]) * q_head + at[None, :], mask=inside, other=0.0
        )
        position = length - count + token
        first = length - count + row
        newest = tl.minimum(length, first + BQ)
        acc = tl.zeros((BM, BD), tl.float32)
        peak = tl.full((BM,), -float("inf"), tl.float32)
        norm = tl.zeros((BM,), tl.float32)
        table = pages + s.to(tl.int64) * pages_row
        if WINDOW > 0:
            whole = tl.maximum(0, first - WINDOW + 1) // BN * BN
        elif ALIKE:
            whole = 0
        else:
            whole = (first + 1) // BN * BN
        if TMA:
            if consecutive(table, (newest + PAGE - 1) // PAGE):
                page = tl.load(table)
                acc, peak, norm = stream(acc, peak, norm, query, k_tiles, v_tiles, page, g, 0, whole, scale, position,
                                         DIM, PAGE, BN, False)  # fmt: skip
                acc, peak, norm = stream(acc, peak, norm, query, k_tiles, v_tiles, page, g, whole, newest, scale,
                                         position, DIM, PAGE, BN, True)  # fmt: skip
            else:
                acc, peak, norm = look_up(acc, peak, norm, query, k_cache, v_cache, table, position, whole, newest,
                                          at, g * head_stride, page_stride, slot_stride, scale,
                                          DIM, PAGE, WINDOW, BN)  # fmt: skip
        else:
            acc, peak, norm = look_up(acc, peak, norm, query, k_cache, v_cache, table, position, whole, newest,
                                      at, g * head_stride, page_stride, slot_stride, scale,
                                      DIM, PAGE, WINDOW, BN)  # fmt: skip
        # Only padding (length 0) sees nothing; its rows are zero.
        result = acc / tl.where(norm > 0, norm, 1.0)[:, None]
        target = out + (source[:, None] * KV_HEADS * GROUP + g * GROUP + head[:, None]) * DIM + at[None, :]
        tl.store(target, result.to(out.dtype.element_ty), mask=inside)
