"""Choosing tokens: the cut-off of each row by search over thresholds, then a two-stage argmax with Gumbel noise."""

# mypy: ignore-errors
# ruff: noqa: RET505, SIM108
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, last_to_arrive, wait


@triton.jit
def pick(value, index):
    """The largest value, and the lowest index where it stands."""
    top = tl.max(value, 0)
    return top, tl.min(tl.where(value == top, index, 2147483647), 0)


@triton.jit
def settle(value, index, best, at, counter, out, r, block, BLOCKS: tl.constexpr, BP: tl.constexpr):
    """Store a block's winner; the row's last block picks the winner of winners and stores its index to out."""
    tl.store(best + r * BLOCKS + block, value)
    tl.store(at + r * BLOCKS + block, index)
    if last_to_arrive(counter + r, BLOCKS):
        b = tl.arange(0, BP)
        values = tl.load(best + r * BLOCKS + b, mask=b < BLOCKS, other=-float("inf"), cache_modifier=".cg")
        indices = tl.load(at + r * BLOCKS + b, mask=b < BLOCKS, other=2147483647, cache_modifier=".cg")
        winner = pick(values, indices)[1]
        tl.store(out + r, winner.to(tl.int64))


@triton.jit
def argmax_kernel(
    logits, best, at, counter, out, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """One block of one row a program."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    block = tl.program_id(1)
    i = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
    top, winner = pick(value, i)
    settle(top, winner, best, at, counter, out, r, block, BLOCKS, BP)


@triton.jit
def gumbel(seed, position, i):
    """The noise of vocabulary entries i: as `rustinfer.ops.philox.gumbel`, in float32."""
    low = (position & 0xFFFFFFFF).to(tl.uint32)
    high = ((position >> 32) & 0xFFFFFFFF).to(tl.uint32)
    counter = (i // 4).to(tl.uint32)
    zero = counter * 0
    a, b, c, d = tl.philox(seed, counter, zero, zero + low, zero + high)
    word = i % 4
    bits = tl.where(word < 2, tl.where(word == 0, a, b), tl.where(word == 2, c, d)) >> 8
    # u = (bits + 0.5) / 2^24 needs 25 bits: above one half, take 1 - u, which is exact, and log(u) = log1p(u - 1).
    u = (bits.to(tl.float32) + 0.5) * 5.960464477539063e-08
    rest = ((16777215 - bits.to(tl.int32)).to(tl.float32) + 0.5) * 5.960464477539063e-08
    rounded = 1.0 - rest
    gap = rounded - 1.0
    near = tl.where(gap == 0.0, -rest, tl.log(rounded) * tl.div_rn(-rest, tl.where(gap == 0.0, -1.0, gap)))
    return -tl.log(-tl.where(bits < 8388608, tl.log(u), near))


@triton.jit
def key_of(value):
    """An unsigned integer (as int64) that orders like the float."""
    bits = value.to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, ~bits, bits | -2147483648)
    return ordered.to(tl.uint32, bitcast=True).to(tl.int64)


@triton.jit
def value_of(key):
    """The float whose key this is."""
    bits = key.to(tl.uint32).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits & 2147483647, ~bits).to(tl.float32, bitcast=True)


@triton.jit
def at_least(
    row, VOCAB, temperature, peak, floor, thresholds, MASS: tl.constexpr, BLOCK: tl.constexpr, WAYS: tl.constexpr
):
    """For each threshold, how many tokens (or what mass) have a key of at least it, and of at least `floor`: [WAYS]."""
    total = tl.zeros((WAYS,), tl.float32)
    for start in range(0, VOCAB, BLOCK):
        i = start + tl.arange(0, BLOCK)
        scaled = tl.div_rn(tl.load(row + i, mask=i < VOCAB, other=-float("inf")), temperature)
        key = key_of(scaled)
        weight = tl.where(i < VOCAB, 1.0, 0.0)
        if MASS:
            weight = tl.where(key >= floor, tl.exp(scaled - peak), 0.0)
        total += tl.sum(tl.where(key[None, :] >= thresholds[:, None], weight[None, :], 0.0), 1)
    return total


@triton.jit
def search(row, VOCAB, temperature, peak, floor, wanted, MASS: tl.constexpr, BLOCK: tl.constexpr):
    """The largest key with at least `wanted` tokens (or mass) at or above it, four bits a pass."""
    way = tl.arange(0, 16).to(tl.int64)
    found = tl.zeros((1,), tl.int64)
    for level in range(8):
        shift = 28 - 4 * level
        thresholds = found + (way << shift)
        total = at_least(row, VOCAB, temperature, peak, floor, thresholds, MASS, BLOCK, 16)
        # Totals fall with the threshold; threshold 0 of each level is known to be enough.
        step = tl.max(tl.where((total >= wanted) | (way == 0), way, 0), 0)
        found += step << shift
    return found


@triton.jit
def cutoff_kernel(
    logits, temperatures, top_k, top_p, min_p, cutoff, VOCAB, row_stride, BLOCK: tl.constexpr, PDL: tl.constexpr
):  # fmt: skip
    """The least scaled logit that each row keeps; rows that restrict nothing leave at once. One row a program."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    row = logits + r.to(tl.int64) * row_stride
    temperature, k = tl.load(temperatures + r), tl.load(top_k + r)
    p, least = tl.load(top_p + r), tl.load(min_p + r)
    limit = tl.full((1,), -float("inf"), tl.float32)
    if (temperature > 0) & ((k > 0) | (p < 1.0) | (least > 0)):
        top = tl.full((BLOCK,), -float("inf"), tl.float32)
        for start in range(0, VOCAB, BLOCK):
            i = start + tl.arange(0, BLOCK)
            top = tl.maximum(top, tl.load(row + i, mask=i < VOCAB, other=-float("inf")))
        peak = tl.div_rn(tl.max(top, 0), temperature)
        floor = tl.zeros((1,), tl.int64)
        if (k > 0) & (k < VOCAB):
            floor = search(row, VOCAB, temperature, peak, floor, k.to(tl.float32), False, BLOCK)
            limit = value_of(floor)
        if p < 1.0:
            all_of_it = at_least(row, VOCAB, temperature, peak, floor, tl.zeros((1,), tl.int64), True, BLOCK, 1)
            wanted = tl.maximum(tl.sum(all_of_it, 0) * p, 1e-37)
            limit = tl.maximum(limit, value_of(search(row, VOCAB, temperature, peak, floor, wanted, True, BLOCK)))
        limit = tl.maximum(limit, peak + tl.log(least))
    tl.store(cutoff + r + tl.arange(0, 1), limit)


@triton.jit
def draw_kernel(
    logits, temperatures, cutoff, seeds, positions, best, at, counter, out, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Argmax of logits / temperature + noise over what the cut-off leaves; plain argmax at temperature 0."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    block = tl.program_id(1)
    i = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
    temperature = tl.load(temperatures + r)
    if temperature > 0:
        value = tl.div_rn(value, temperature)
        noisy = value + gumbel(tl.load(seeds + r), tl.load(positions + r), i)
        value = tl.where((value >= tl.load(cutoff + r)) & (i < VOCAB), noisy, -float("inf"))
    top, winner = pick(value, i)
    settle(top, winner, best, at, counter, out, r, block, BLOCKS, BP)
