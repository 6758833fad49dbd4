"""Choosing tokens: a two-stage argmax with Gumbel noise, of what a row's cut-off leaves."""

# mypy: ignore-errors
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
def seen(value):
    """NaN as infinity, which a comparison finds."""
    return tl.where(value == value, value, float("inf"))


@triton.jit
def greater(a, b):
    """The larger number, NaN being larger than any."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def greatest(value, FAST: tl.constexpr):
    """The largest number, or one that is not finite where there is any; interpreted, `greater` is called too often."""
    if FAST:
        return tl.reduce(value, 0, greater)
    return tl.max(seen(value), 0)


@triton.jit
def store_token(out, r, winner, VOCAB):
    """Where no logit is a number there is no winner; the token is fed on all the same, so it must be one."""
    tl.store(out + r, tl.minimum(winner, VOCAB - 1).to(tl.int64))


@triton.jit
def settle(value, index, best, at, counter, out, r, block, VOCAB, BLOCKS: tl.constexpr, BP: tl.constexpr):
    """Store a block's winner; the row's last block picks the winner of winners and stores its index to out."""
    tl.store(best + r * BLOCKS + block, value)
    tl.store(at + r * BLOCKS + block, index)
    if last_to_arrive(counter + r, BLOCKS):
        b = tl.arange(0, BP)
        values = tl.load(best + r * BLOCKS + b, mask=b < BLOCKS, other=-float("inf"), cache_modifier=".cg")
        indices = tl.load(at + r * BLOCKS + b, mask=b < BLOCKS, other=2147483647, cache_modifier=".cg")
        store_token(out, r, pick(values, indices)[1], VOCAB)


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
    top, winner = pick(seen(value), i)
    settle(top, winner, best, at, counter, out, r, block, VOCAB, BLOCKS, BP)


@triton.jit
def sound_kernel(logits, tokens, kept, told, rows, VOCAB, row_stride, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """A token of the vocabulary for each row, and -1 for the host where its logit is not finite."""
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = r < rows
    token = tl.minimum(tl.maximum(tl.load(tokens + r, mask=there, other=0), 0), VOCAB - 1)
    value = tl.load(logits + r.to(tl.int64) * row_stride + token, mask=there, other=0.0)
    tl.store(kept + r, token, mask=there)
    tl.store(told + r, tl.where(tl.abs(value) < float("inf"), token, -1), mask=there)


@triton.jit
def random_bits(seed, position, first, BLOCK: tl.constexpr):
    """24 random bits for each of BLOCK vocabulary entries from `first`, a multiple of 4: as `rustinfer.ops.philox`.

    One Philox block gives four entries their words.
    """
    low = (position & 0xFFFFFFFF).to(tl.uint32)
    high = ((position >> 32) & 0xFFFFFFFF).to(tl.uint32)
    counter = (first // 4 + tl.arange(0, BLOCK // 4)).to(tl.uint32)
    zero = counter * 0
    a, b, c, d = tl.philox(seed, counter, zero, zero + low, zero + high)
    return (tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (BLOCK,)) >> 8).to(tl.int32)


@triton.jit
def halves(bits):
    """u = (bits + 0.5) / 2^24 needs 25 bits above one half: there `rest`, which is 1 - u, is exact."""
    u = (bits.to(tl.float32) + 0.5) * 5.960464477539063e-08
    rest = ((16777215 - bits).to(tl.float32) + 0.5) * 5.960464477539063e-08
    return bits < 8388608, u, rest


@triton.jit
def gumbel(bits):
    """-log(-log(u)) to the last bit but one."""
    small, u, rest = halves(bits)
    # Above one half log(u) is log1p(-rest).
    rounded = 1.0 - rest
    gap = rounded - 1.0
    log = tl.log(tl.where(small, u, rounded))
    near = tl.where(gap == 0.0, -rest, log * tl.div_rn(-rest, tl.where(gap == 0.0, -1.0, gap)))
    return -tl.log(-tl.where(small, log, near))


@triton.jit
def fast_log2(x, FAST: tl.constexpr):
    """log2 by the special function unit, to 22 bits."""
    if FAST:
        return tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=r,r", [x], tl.float32, is_pure=True, pack=1)
    return tl.log2(x)


@triton.jit
def rough_gumbel(bits, FAST: tl.constexpr):
    """-log(-log(u)) to 2e-5, at a fifth of the cost."""
    small, u, rest = halves(bits)
    minus_log = -0.6931471805599453 * fast_log2(tl.where(small, u, 1.0 - rest), FAST)
    series = rest * (1.0 + rest * (0.5 + rest * (0.33333334 + rest * 0.25)))
    return -0.6931471805599453 * fast_log2(tl.where(bits > 15728640, series, minus_log), FAST)


@triton.jit
def rough_score(value, bits, inverse, FAST: tl.constexpr):
    """(value / temperature + noise) in units of ln 2, but for a constant, to 3e-5: for rows that restrict nothing."""
    _small, u, rest = halves(bits)
    series = rest * (1.4426950408889634 + rest * (0.7213475204444817 + rest * (0.4808983469629878 + rest * 0.36067376)))
    minus_log = tl.where(bits > 15728640, series, -fast_log2(u, FAST))
    return value * (inverse * 1.4426950408889634) - fast_log2(minus_log, FAST)


@triton.jit
def scaled_block(logits, r, block, temperature, least, VOCAB, row_stride, BLOCK: tl.constexpr):
    """A block's numbers, its logits over the temperature where the cut-off leaves them (else -inf), and where."""
    i = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
    value = tl.div_rn(value, temperature)
    kept = ((value >= least) | (value != value)) & (i < VOCAB)  # what is no number is not left unseen
    return i, tl.where(kept, value, -float("inf")), kept


@triton.jit
def draw_kernel(
    logits, temperatures, cutoff, seeds, positions, best, at, counter, out, VOCAB, row_stride,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr, BP: tl.constexpr, FAST: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """Argmax of logits / temperature + noise over what the cut-off leaves; plain argmax at temperature 0.

    Exact noise costs five times what reading a logit does, so all blocks work with rough noise, and the last one
    to finish does those again, exactly, whose best comes within the error of the best of all: one, or rarely two.
    """
    begin(PDL)
    wait(PDL)
    r = tl.program_id(0)
    block = tl.program_id(1)
    temperature = tl.load(temperatures + r)
    if temperature > 0:
        least, seed, position = tl.load(cutoff + r), tl.load(seeds + r), tl.load(positions + r)
        if (least == -float("inf")) & (temperature > 1e-30):
            i = block * BLOCK + tl.arange(0, BLOCK)
            value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
            bits = random_bits(seed, position, block * BLOCK, BLOCK)
            value = rough_score(value, bits, tl.div_rn(1.0, temperature), FAST)
        else:
            _i, value, kept = scaled_block(logits, r, block, temperature, least, VOCAB, row_stride, BLOCK)
            # A block that has nothing left needs no noise.
            if tl.max(kept.to(tl.int32), 0) > 0:
                value += rough_gumbel(random_bits(seed, position, block * BLOCK, BLOCK), FAST)
        tl.store(best + r * BLOCKS + block, greatest(value, FAST))
        if last_to_arrive(counter + r, BLOCKS):
            b = tl.arange(0, BP)
            rough = tl.load(best + r * BLOCKS + b, mask=b < BLOCKS, other=-float("inf"), cache_modifier=".cg")
            odd = tl.min(tl.where(rough < float("inf"), BP, b), 0)  # the first block with a number that is not finite
            top = tl.max(rough, 0)
            close = (rough >= top - 1e-4 - 1e-6 * tl.abs(top)) & (b < BLOCKS)
            highest = tl.full((), -float("inf"), tl.float32)
            winner = tl.full((), 0, tl.int32)
            next_one = tl.min(tl.where(close, b, BP), 0)
            if odd < BP:
                next_one = BP
                i = odd * BLOCK + tl.arange(0, BLOCK)
                value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
                winner = pick(seen(value), i)[1]
            while next_one < BP:
                i, exact, _kept = scaled_block(logits, r, next_one, temperature, least, VOCAB, row_stride, BLOCK)
                exact += gumbel(random_bits(seed, position, next_one * BLOCK, BLOCK))
                value_here, index_here = pick(exact, i)
                # Blocks come in ascending order, so the first among equals stays.
                winner = tl.where(value_here > highest, index_here, winner)
                highest = tl.maximum(highest, value_here)
                next_one = tl.min(tl.where(close & (b > next_one), b, BP), 0)
            store_token(out, r, winner, VOCAB)
    else:
        i = block * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(logits + r.to(tl.int64) * row_stride + i, mask=i < VOCAB, other=-float("inf"))
        top, winner = pick(seen(value), i)
        settle(top, winner, best, at, counter, out, r, block, VOCAB, BLOCKS, BP)
