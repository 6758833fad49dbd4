"""The cut-off of each row of logits: blocks count what lies in bands, then one program a row searches one of them."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


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
def searches(temperature, k, p, VOCAB):
    """Whether top-k and top-p restrict a row at all."""
    random = temperature > 0
    return random & (k > 0) & (k < VOCAB), random & (p < 1.0)


@triton.jit
def edges(peak, WAYS: tl.constexpr):
    """Where the bands end, downwards from the peak: half a unit each, the last without end."""
    way = tl.arange(0, WAYS)
    return tl.where(way == WAYS - 1, -float("inf"), peak - 0.5 * (way + 1).to(tl.float32))


@triton.jit
def peak_of(maxima, r, temperature, BLOCKS: tl.constexpr, BP: tl.constexpr):
    """The row's largest scaled logit, from the blocks' largest logits."""
    b = tl.arange(0, BP)
    return tl.div_rn(tl.max(tl.load(maxima + r * BLOCKS + b, mask=b < BLOCKS, other=-float("inf")), 0), temperature)


@triton.jit
def maxima_kernel(
    logits, temperatures, top_k, top_p, min_p, maxima, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The largest logit of each block of each row that restricts anything; a row's programs take its blocks in turn."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    temperature = tl.load(temperatures + r)
    by_count, by_mass = searches(temperature, tl.load(top_k + r), tl.load(top_p + r), VOCAB)
    if by_count | by_mass | ((temperature > 0) & (tl.load(min_p + r) > 0)):
        for block in range(tl.program_id(1), BLOCKS, tl.num_programs(1)):
            i = block * BLOCK + tl.arange(0, BLOCK)
            value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
            tl.store(maxima + r * BLOCKS + block, tl.max(value, 0))


@triton.jit
def bands_kernel(
    logits, temperatures, top_k, top_p, maxima, counts, masses, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, WAYS: tl.constexpr, WIDE: tl.constexpr,
    SUB: tl.constexpr, STAGES: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """How many tokens of a block, and what mass, lie at or above each edge: [R, BLOCKS, WAYS] to counts and masses.

    Top-k finds its band by counts alone, and the masses of its rows are not written.
    """
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    temperature = tl.load(temperatures + r)
    by_count, by_mass = searches(temperature, tl.load(top_k + r), tl.load(top_p + r), VOCAB)
    if by_count | by_mass:
        peak = peak_of(maxima, r, temperature, BLOCKS, BP)
        for block in range(tl.program_id(1), BLOCKS, tl.num_programs(1)):
            at = (r.to(tl.int64) * BLOCKS + block) * WAYS + tl.arange(0, WAYS)
            row = logits + r.to(tl.int64) * row_stride
            count = tl.zeros((WAYS,), tl.int32)
            for start in tl.range(0, BLOCK, WIDE, num_stages=STAGES):
                i = block * BLOCK + start + tl.arange(0, WIDE)
                scaled = tl.div_rn(tl.load(row + i, mask=i < VOCAB, other=0.0), temperature)
                count += tl.histogram(band_number(scaled, peak, WAYS), WAYS, mask=(i < VOCAB) & (scaled == scaled))
            tl.store(counts + at, tl.cumsum(count, 0).to(tl.float32))
            if by_count == 0:
                tl.store(masses + at, mass_above(row, block, temperature, peak, VOCAB, BLOCK, WAYS, SUB, STAGES))


@triton.jit
def band_number(scaled, peak, WAYS: tl.constexpr):
    """The band that each value lies in: how many of the edges that `edges` gives are above it, found by halving."""
    tl.static_assert(WAYS == 32)
    way = tl.zeros_like(scaled)
    for half in tl.static_range(5):
        step = (16 >> half) * 1.0
        way += tl.where(scaled < peak - 0.5 * (way + step), step, 0.0)
    return way.to(tl.int32)


@triton.jit
def mass_above(
    row, block, temperature, peak, VOCAB,
    BLOCK: tl.constexpr, WAYS: tl.constexpr, SUB: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """What mass of a block lies at or above each edge, [WAYS].

    Threads lie along the values, and each has all edges: the other way round each value would be scaled 32 times.
    """
    edge = edges(peak, WAYS)[:, None]
    mass = tl.zeros((WAYS, SUB), tl.float32)
    for start in tl.range(0, BLOCK, SUB, num_stages=STAGES):
        i = block * BLOCK + start + tl.arange(0, SUB)
        value = tl.load(row + i, mask=i < VOCAB, other=-float("inf"))
        scaled = tl.div_rn(value, temperature)[None, :]
        mass += tl.where(scaled >= edge, tl.exp(scaled - peak), 0.0)
    return tl.sum(mass, 1)


@triton.jit
def band_of(counts, masses, r, before, k, p, by_count, BLOCKS: tl.constexpr, BP: tl.constexpr, WAYS: tl.constexpr):
    """The band that holds a row's cut-off: its number, the mass above it, the whole mass, the tokens to be looked at,
    and how many of those are in blocks earlier than `before`.

    Top-k looks at everything from the band's lower edge upwards, because top-p may cut again among what it leaves.
    """
    b = tl.arange(0, BP)
    way = tl.arange(0, WAYS)
    at = (r.to(tl.int64) * BLOCKS + b[:, None]) * WAYS + way[None, :]
    count = tl.load(counts + at, mask=(b < BLOCKS)[:, None], other=0.0)
    mass = tl.sum(tl.load(masses + at, mask=(b < BLOCKS)[:, None] & (by_count == 0), other=0.0), 0)
    whole = tl.max(mass, 0)
    if by_count:
        short = tl.sum(count, 0) < k.to(tl.float32)
    else:
        short = mass < whole * p
    band = tl.minimum(tl.sum(short.to(tl.int32), 0), WAYS - 1)
    here = tl.sum(tl.where(way[None, :] == band, count, 0.0), 1)
    skipped = tl.sum(tl.where((way[None, :] == band - 1) & (by_count == 0), count, 0.0), 1)
    above = tl.sum(tl.where(way == band - 1, mass, 0.0), 0)
    listed = here - skipped
    return band, above, whole, tl.sum(listed, 0).to(tl.int32), tl.sum(tl.where(b < before, listed, 0.0), 0).to(tl.int32)


@triton.jit
def edge_at(peak, band, WAYS: tl.constexpr):
    """One edge; above the first band there is none but infinity."""
    inside = tl.sum(tl.where(tl.arange(0, WAYS) == band, edges(peak, WAYS), 0.0), 0)
    return tl.where(band < 0, float("inf"), inside)


@triton.jit
def gather_kernel(
    logits, temperatures, top_k, top_p, maxima, counts, masses, listed, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, WAYS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The scaled logits among which the cut-off lies, close together and in their order: [R, VOCAB] to listed."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    temperature, k, p = tl.load(temperatures + r), tl.load(top_k + r), tl.load(top_p + r)
    by_count, by_mass = searches(temperature, k, p, VOCAB)
    if by_count | by_mass:
        peak = peak_of(maxima, r, temperature, BLOCKS, BP)
        for block in range(tl.program_id(1), BLOCKS, tl.num_programs(1)):
            band, _above, _whole, _size, offset = band_of(counts, masses, r, block, k, p, by_count, BLOCKS, BP, WAYS)
            low = edge_at(peak, band, WAYS)
            high = tl.where(by_count, float("inf"), edge_at(peak, band - 1, WAYS))
            i = block * BLOCK + tl.arange(0, BLOCK)
            value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
            scaled = tl.div_rn(value, temperature)
            kept = (scaled >= low) & (scaled < high) & (i < VOCAB)
            place = offset + tl.cumsum(kept.to(tl.int32), 0) - 1
            tl.store(listed + r.to(tl.int64) * VOCAB + place, scaled, mask=kept)


@triton.jit
def at_least(listed, size, peak, floor, thresholds, MASS: tl.constexpr, BLOCK: tl.constexpr, WAYS: tl.constexpr):
    """For each threshold, how many listed values (or what mass) have a key of at least it, and of at least `floor`."""
    total = tl.zeros((WAYS,), tl.float32)
    for start in range(0, size, BLOCK):
        i = start + tl.arange(0, BLOCK)
        scaled = tl.load(listed + i, mask=i < size, other=-float("inf"))
        key = key_of(scaled)
        weight = tl.where(i < size, 1.0, 0.0)
        if MASS:
            weight = tl.where(key >= floor, tl.exp(scaled - peak), 0.0)
        total += tl.sum(tl.where(key[None, :] >= thresholds[:, None], weight[None, :], 0.0), 1)
    return total


@triton.jit
def search(listed, size, peak, found, floor, wanted, MASS: tl.constexpr, BLOCK: tl.constexpr):
    """The largest key with at least `wanted` tokens (or mass) at or above it; `found` is a key known to be low enough.

    Four bits a pass; passes whose smallest step leads beyond the peak are left out.
    """
    way = tl.arange(0, 16).to(tl.int64)
    top = key_of(peak)
    for level in range(8):
        shift = 28 - 4 * level
        if tl.max(found, 0) + (tl.full((), 1, tl.int64) << shift) <= top:
            thresholds = found + (way << shift)
            total = at_least(listed, size, peak, floor, thresholds, MASS, BLOCK, 16)
            # Totals fall with the threshold; threshold 0 of each level is known to be enough.
            step = tl.max(tl.where((total >= wanted) | (way == 0), way, 0), 0)
            found += step << shift
    return found


@triton.jit
def cutoff_kernel(
    temperatures, top_k, top_p, min_p, maxima, counts, masses, listed, cutoff, VOCAB,
    BLOCKS: tl.constexpr, BP: tl.constexpr, WAYS: tl.constexpr, LIST: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """The least scaled logit that each row keeps; rows that restrict nothing leave at once. One row a program."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    temperature, k = tl.load(temperatures + r), tl.load(top_k + r)
    p, least = tl.load(top_p + r), tl.load(min_p + r)
    limit = tl.full((1,), -float("inf"), tl.float32)
    by_count, by_mass = searches(temperature, k, p, VOCAB)
    row = listed + r.to(tl.int64) * VOCAB
    if by_count | by_mass:
        peak = peak_of(maxima, r, temperature, BLOCKS, BP)
        band, above, whole, size, _offset = band_of(counts, masses, r, 0, k, p, by_count, BLOCKS, BP, WAYS)
        start = key_of(tl.zeros((1,), tl.float32) + edge_at(peak, band, WAYS))
        floor = tl.zeros((1,), tl.int64)
        wanted = whole * p - above
        if by_count:
            floor = search(row, size, peak, start, floor, k.to(tl.float32), False, LIST)
            limit = value_of(floor)
            everything = at_least(row, size, peak, floor, tl.zeros((1,), tl.int64), True, LIST, 1)
            wanted = tl.sum(everything, 0) * p
        if by_mass:
            first = tl.maximum(start, floor)
            limit = value_of(search(row, size, peak, first, floor, tl.maximum(wanted, 1e-37), True, LIST))
    if (temperature > 0) & (least > 0):
        limit = tl.maximum(limit, peak_of(maxima, r, temperature, BLOCKS, BP) + tl.log(least))
    tl.store(cutoff + r + tl.arange(0, 1), limit)
