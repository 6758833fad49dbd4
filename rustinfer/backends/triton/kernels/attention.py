"""Paged attention: the query heads that share a key head go through the tensor cores together."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, last_to_arrive, wait


@triton.jit
def absorb(
    acc, peak, norm, q, k_cache, v_cache, table, position, present, n, at,
    head_offset, page_stride, slot_stride, scale, newest,
    DIM: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One tile of keys and values into the running softmax. `scale` includes log2(e): exponentials are powers of 2.

    q: [BM, BD]; position: [BM] of its rows; n: [BN] key positions; newest: positions from there on are not loaded.
    """
    there = n < newest
    if MASKED:
        page = tl.load(table + n // PAGE, mask=there, other=0)
    else:
        page = tl.load(table + n // PAGE)
    base = page.to(tl.int64) * page_stride + head_offset + (n % PAGE) * slot_stride
    if MASKED:
        inside = there[:, None] & (at < DIM)[None, :]
        k = tl.load(k_cache + base[:, None] + at[None, :], mask=inside, other=0.0)
    else:
        k = tl.load(k_cache + base[:, None] + at[None, :], mask=(at < DIM)[None, :], other=0.0)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee")
    if MASKED:
        distance = position[:, None] - n[None, :]
        visible = (distance >= 0) & there[None, :]
        if WINDOW > 0:
            visible &= distance < WINDOW
        scores = tl.where(visible, scores, -float("inf"))
    # The scale is positive, so it may wait until after the maximum: then it costs nothing, in one multiply-add.
    highest = tl.maximum(peak, tl.max(scores, 1) * scale)
    # A row that has seen nothing yet has no peak: subtracting minus infinity from itself would be NaN.
    anchor = tl.where(highest == -float("inf"), 0.0, highest)
    weights = tl.exp2(scores * scale - anchor[:, None])
    shrink = tl.exp2(peak - anchor)
    norm = norm * shrink + tl.sum(weights, 1)
    if MASKED:
        v = tl.load(v_cache + base[:, None] + at[None, :], mask=inside, other=0.0)
    else:
        v = tl.load(v_cache + base[:, None] + at[None, :], mask=(at < DIM)[None, :], other=0.0)
    acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
    return acc, highest, norm


@triton.jit
def decode_kernel(
    q, k_cache, v_cache, lengths, pages, out, parts, peaks, counters,
    q_row, q_head, page_stride, head_stride, slot_stride, pages_row, scale, KV_HEADS,
    DIM: tl.constexpr, GROUP: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    BM: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, SPLITS: tl.constexpr, MIN_TILES: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """One row a sequence. A program takes a share of one sequence's positions for one key head.

    How a sequence is shared out depends on its own length alone. The last program to finish combines the shares.
    """
    begin(PDL)
    s = tl.program_id(0)
    g = tl.program_id(1)
    split = tl.program_id(2)
    wait(PDL)
    length = tl.load(lengths + s)
    start = 0
    if WINDOW > 0:
        start = tl.maximum(0, length - WINDOW) // BN * BN
    tiles = (length - start + BN - 1) // BN
    per = tl.maximum((tiles + SPLITS - 1) // SPLITS, MIN_TILES)
    used = (tiles + per - 1) // per
    h = tl.arange(0, BM)
    at = tl.arange(0, BD)
    inside = (h < GROUP)[:, None] & (at < DIM)[None, :]
    target = out + (s.to(tl.int64) * KV_HEADS * GROUP + g * GROUP + h[:, None]) * DIM + at[None, :]
    if (length <= 0) & (split == 0):
        tl.store(target, tl.zeros((BM, BD), tl.float32).to(out.dtype.element_ty), mask=inside)
    if split < used:
        query = tl.load(
            q + s.to(tl.int64) * q_row + (g * GROUP + h[:, None]) * q_head + at[None, :], mask=inside, other=0.0
        )
        position = tl.zeros((BM,), tl.int32) + (length - 1)
        acc = tl.zeros((BM, BD), tl.float32)
        peak = tl.full((BM,), -float("inf"), tl.float32)
        norm = tl.zeros((BM,), tl.float32)
        first = start + split * per * BN
        end = tl.minimum(length, first + per * BN)
        for tile in range(first, end, BN):
            acc, peak, norm = absorb(
                acc, peak, norm, query, k_cache, v_cache, pages + s.to(tl.int64) * pages_row, position, h < GROUP,
                tile + tl.arange(0, BN), at, g * head_stride, page_stride, slot_stride, scale, length,
                DIM, PAGE, WINDOW, True)  # fmt: skip
        if used == 1:
            tl.store(target, (acc / norm[:, None]).to(out.dtype.element_ty), mask=inside)
        else:
            row = s * KV_HEADS + g
            slot = row.to(tl.int64) * SPLITS + split
            own = parts + slot * BM * BD + h[:, None] * BD + at[None, :]
            tl.store(own, acc, mask=(h < GROUP)[:, None])
            tl.store(peaks + slot * 2 * BM + h, peak, mask=h < GROUP)
            tl.store(peaks + slot * 2 * BM + BM + h, norm, mask=h < GROUP)
            if last_to_arrive(counters + row, used):
                combine(parts, peaks, target, row, used, inside, h, at, GROUP, BM, BD, SPLITS)


@triton.jit
def combine(
    parts, peaks, target, row, used, inside, h, at,
    GROUP: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Merge the shares of one sequence and key head in their order, so the result does not depend on who was last."""
    acc = tl.zeros((BM, BD), tl.float32)
    peak = tl.full((BM,), -float("inf"), tl.float32)
    norm = tl.zeros((BM,), tl.float32)
    real = h < GROUP
    for split in range(used):
        slot = row.to(tl.int64) * SPLITS + split
        entry = peaks + slot * 2 * BM + h
        its_peak = tl.load(entry, mask=real, other=-float("inf"), cache_modifier=".cg")
        its_norm = tl.load(entry + BM, mask=real, other=0.0, cache_modifier=".cg")
        cell = parts + slot * BM * BD + h[:, None] * BD + at[None, :]
        its_acc = tl.load(cell, mask=real[:, None], other=0.0, cache_modifier=".cg")
        highest = tl.maximum(peak, its_peak)
        anchor = tl.where(highest == -float("inf"), 0.0, highest)
        ours, theirs = tl.exp2(peak - anchor), tl.exp2(its_peak - anchor)
        acc = acc * ours[:, None] + its_acc * theirs[:, None]
        norm = norm * ours + its_norm * theirs
        peak = highest
    tl.store(target, (acc / norm[:, None]).to(target.dtype.element_ty), mask=inside)


@triton.jit
def sequence_of(starts, block, S, BQ: tl.constexpr):
    """The sequence that block `block` of BQ rows belongs to: the last s with starts[s] // BQ + s <= block."""
    low = 0
    high = S
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(starts + middle) // BQ + middle <= block:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def prefill_kernel(
    q, k_cache, v_cache, starts, lengths, pages, out, S,
    q_row, q_head, page_stride, head_stride, slot_stride, pages_row, scale, KV_HEADS,
    DIM: tl.constexpr, GROUP: tl.constexpr, WIDE: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    BM: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Any rows of any sequences. A program takes BM / WIDE rows of a sequence with the GROUP heads of one key head."""
    begin(PDL)
    wait(PDL)
    BQ: tl.constexpr = BM // WIDE
    # The longest rows come last in a sequence and take most work, so they start first.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    g = tl.program_id(1)
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
        begin_at = 0
        if WINDOW > 0:
            begin_at = tl.maximum(0, first - WINDOW + 1) // BN * BN
            whole = begin_at
        else:
            whole = (first + 1) // BN * BN
        for tile in range(0, whole if WINDOW == 0 else 0, BN):
            acc, peak, norm = absorb(
                acc, peak, norm, query, k_cache, v_cache, table, position, present, tile + tl.arange(0, BN), at,
                g * head_stride, page_stride, slot_stride, scale, newest, DIM, PAGE, WINDOW, False)  # fmt: skip
        for tile in range(whole, newest, BN):
            acc, peak, norm = absorb(
                acc, peak, norm, query, k_cache, v_cache, table, position, present, tile + tl.arange(0, BN), at,
                g * head_stride, page_stride, slot_stride, scale, newest, DIM, PAGE, WINDOW, True)  # fmt: skip
        # Only padding (length 0) sees nothing; its rows are zero.
        result = acc / tl.where(norm > 0, norm, 1.0)[:, None]
        target = out + (source[:, None] * KV_HEADS * GROUP + g * GROUP + head[:, None]) * DIM + at[None, :]
        tl.store(target, result.to(out.dtype.element_ty), mask=inside)
