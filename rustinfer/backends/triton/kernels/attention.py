"""Paged attention: the query heads that share a key head go through the tensor cores together."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, last_to_arrive, wait


@triton.jit
def absorb(
    acc, peak, norm, q, k_cache, v_cache, page, position, n, at,
    head_offset, page_stride, slot_stride, scale, newest,
    DIM: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One tile of keys and values into the running softmax. `scale` includes log2(e): exponentials are powers of 2.

    q: [BM, BD]; position: [BM] of its rows; n, page: [BN] key positions and the pages they are in; newest: positions
    from there on are not loaded.
    """
    there = n < newest
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
    q_row, q_head, page_stride, head_stride, slot_stride, pages_row, TABLE, scale, KV_HEADS,
    DIM: tl.constexpr, GROUP: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    WIDE: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
    SPLITS: tl.constexpr, MIN_TILES: tl.constexpr, AT_ONCE: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One row a sequence. A program takes a share of one sequence's positions for one key head.

    How a sequence is shared out depends on its own length alone. The last program to finish combines the shares.
    """
    begin(PDL)
    g = tl.program_id(0)  # neighbours read neighbours: the heads of a page lie beside each other
    s = tl.program_id(1)
    split = tl.program_id(2)
    table = pages + s.to(tl.int64) * pages_row
    guess = split * MIN_TILES * BN
    slots = tl.arange(0, BN) // PAGE
    wait(PDL)
    length = tl.load(lengths + s)
    # Where a share begins depends on the length, but mostly it is here: so the pages need not wait for the length.
    guessed = tl.load(table + guess // PAGE + slots, mask=guess // PAGE + slots < TABLE, other=0)
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
        page = guessed
        if first != guess:
            page = tl.load(table + (first + tl.arange(0, BN)) // PAGE, mask=first + tl.arange(0, BN) < length, other=0)
        for tile in range(first, end, BN):
            n = tile + tl.arange(0, BN)
            # Looked up a tile ahead: keys and values whose address hangs on a load of the same tile get no pipeline.
            following = tl.load(table + (n + BN) // PAGE, mask=n + BN < end, other=0)
            acc, peak, norm = absorb(
                acc, peak, norm, query, k_cache, v_cache, page, position, n, at,
                g * head_stride, page_stride, slot_stride, scale, length, DIM, PAGE, WINDOW, True)  # fmt: skip
            page = following
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
                combine(parts, peaks, out, row, used, DIM, GROUP, WIDE, BM, BD, SPLITS, AT_ONCE)


@triton.jit
def combine(
    parts, peaks, out, row, used,
    DIM: tl.constexpr, GROUP: tl.constexpr, WIDE: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr,
    SPLITS: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Merge the shares of one sequence and key head in their order, so the result does not depend on who was last.

    Several are asked for at once, for each costs a trip to the L2 cache; padded heads are left out, which frees the
    registers for that.
    """
    h = tl.arange(0, WIDE)
    at = tl.arange(0, BD)
    acc = tl.zeros((WIDE, BD), tl.float32)
    peak = tl.full((WIDE,), -float("inf"), tl.float32)
    norm = tl.zeros((WIDE,), tl.float32)
    for first in range(0, used, AT_ONCE):
        split = first + tl.arange(0, AT_ONCE)
        slot = row.to(tl.int64) * SPLITS + split
        there = (split < used)[:, None] & (h < GROUP)[None, :]
        entry = peaks + slot[:, None] * 2 * BM + h[None, :]
        cell = parts + slot[:, None, None] * BM * BD + h[None, :, None] * BD + at[None, None, :]
        its_acc = tl.load(cell, mask=there[:, :, None], other=0.0, cache_modifier=".cg")
        its_peak = tl.load(entry, mask=there, other=-float("inf"), cache_modifier=".cg")
        its_norm = tl.load(entry + BM, mask=there, other=0.0, cache_modifier=".cg")
        highest = tl.maximum(peak, tl.max(its_peak, 0))
        anchor = tl.where(highest == -float("inf"), 0.0, highest)
        ours, theirs = tl.exp2(peak - anchor), tl.exp2(its_peak - anchor[None, :])
        acc = acc * ours[:, None] + tl.sum(its_acc * theirs[:, :, None], 0)
        norm = norm * ours + tl.sum(its_norm * theirs, 0)
        peak = highest
    inside = (h < GROUP)[:, None] & (at < DIM)[None, :]
    target = out + (row.to(tl.int64) * GROUP + h[:, None]) * DIM + at[None, :]
    tl.store(target, (acc / norm[:, None]).to(out.dtype.element_ty), mask=inside)
