"""Forbidden and biased tokens, and the typical ones: all of them written into the logits."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait
from .cutoff import key_of, value_of


@triton.jit
def mask_kernel(logits, rows, bits, VOCAB, WORDS, row_stride, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """One block of one of the named rows a program; nothing is read but the bits."""
    begin(PDL)
    wait(PDL)
    k = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(bits + k * WORDS + i // 32, mask=i < VOCAB, other=-1)
    row = logits + tl.load(rows + k) * row_stride
    tl.store(row + i, tl.full((BLOCK,), -float("inf"), tl.float32), mask=(i < VOCAB) & (((word >> (i % 32)) & 1) == 0))


@triton.jit(do_not_specialize=["COUNT"])  # one kernel for any number: it is compiled at the start
def bias_kernel(logits, rows, tokens, biases, COUNT, row_stride, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """One block of the pairs a program."""
    begin(PDL)
    wait(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < COUNT
    row = tl.load(rows + i, mask=inside, other=0)
    at = logits + row * row_stride + tl.load(tokens + i, mask=inside, other=0)
    value = tl.load(at, mask=inside, other=0.0) + tl.load(biases + i, mask=inside, other=0.0)
    tl.store(at, value, mask=inside)


@triton.jit
def scaled_of(row, start, temperature, VOCAB, BLOCK: tl.constexpr):
    """One block of a row over its temperature; minus infinity beyond the vocabulary."""
    i = start + tl.arange(0, BLOCK)
    return tl.div_rn(tl.load(row + i, mask=i < VOCAB, other=-float("inf")), temperature)


@triton.jit
def distance_of(scaled, normal, entropy):
    """How far the surprisal of each token, `normal - scaled`, is from the entropy."""
    return tl.abs(scaled - normal + entropy)


@triton.jit
def near(row, temperature, normal, entropy, thresholds, VOCAB, BLOCK: tl.constexpr, WAYS: tl.constexpr):
    """The mass of the tokens whose distance has a key of at most each threshold."""
    total = tl.zeros((WAYS,), tl.float32)
    for start in range(0, VOCAB, BLOCK):
        scaled = scaled_of(row, start, temperature, VOCAB, BLOCK)
        key = key_of(distance_of(scaled, normal, entropy))
        mass = tl.exp(scaled - normal)
        total += tl.sum(tl.where(key[None, :] <= thresholds[:, None], mass[None, :], 0.0), 1)
    return total


@triton.jit
def typical_kernel(
    logits, rows, temperatures, shares, VOCAB, row_stride, BLOCK: tl.constexpr, PDL: tl.constexpr
):  # fmt: skip
    """One of the named rows a program. The least distance with enough mass is found four bits of its key a pass."""
    begin(PDL)
    wait(PDL)
    k = tl.program_id(0).to(tl.int64)
    row = logits + tl.load(rows + k) * row_stride
    temperature, share = tl.load(temperatures + k), tl.load(shares + k)
    if share < 1.0:
        peak = tl.full((), -float("inf"), tl.float32)
        for start in range(0, VOCAB, BLOCK):
            peak = tl.maximum(peak, tl.max(scaled_of(row, start, temperature, VOCAB, BLOCK), 0))
        whole = tl.full((), 0.0, tl.float32)
        mean = tl.full((), 0.0, tl.float32)
        for start in range(0, VOCAB, BLOCK):
            below = scaled_of(row, start, temperature, VOCAB, BLOCK) - peak
            mass = tl.exp(below)
            whole += tl.sum(mass, 0)
            mean += tl.sum(tl.where(mass > 0, mass * below, 0.0), 0)
        normal = peak + tl.log(whole)
        entropy = tl.log(whole) - tl.div_rn(mean, whole)
        way = tl.arange(0, 16).to(tl.int64)
        # Keys of distances begin at that of 0. Below is the largest key that is not enough, plus one.
        found = key_of(tl.zeros((1,), tl.float32))
        for level in range(8):
            step = tl.full((), 1, tl.int64) << (28 - 4 * level)
            total = near(row, temperature, normal, entropy, found + way * step - 1, VOCAB, BLOCK, 16)
            short = tl.max(tl.where((total < share) | (way == 0), way, 0), 0)
            found += short * step
        limit = value_of(tl.minimum(found, key_of(tl.full((1,), float("inf"), tl.float32))))
        for start in range(0, VOCAB, BLOCK):
            distance = distance_of(scaled_of(row, start, temperature, VOCAB, BLOCK), normal, entropy)
            i = start + tl.arange(0, BLOCK)
            gone = (i < VOCAB) & (distance > limit)
            tl.store(row + i, tl.full((BLOCK,), -float("inf"), tl.float32), mask=gone)
