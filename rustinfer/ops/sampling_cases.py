"""Conformance cases of argmax and sample, and wrong versions of them.

Tokens are compared exactly, so no case may hold a near tie: a test of the ops checks that each row's winner is clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor

from rustinfer.registry import Case

from .inputs import Draw
from .mutants import Arguments, instead, spoilt, wrong
from .philox import gumbel
from .sampling import argmax, cutoff, sample, sound


@argmax.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    for rows, vocab in ((1, 97), (5, 1000), (3, 32001), (2, 8), (4, 1), (1, 128256)):
        d = draw(f"{rows}x{vocab}")
        yield Case(d.name, (d.normal(rows, vocab, scale=5, dtype=torch.float32),), decode=rows > 3)
    for scale in (1e-3, 300.0):
        d = draw(f"times {scale:g}")
        yield Case(d.name, (d.normal(3, 500, scale=scale, dtype=torch.float32),))
    ties = draw("ties").integers(6, 3000, below=4, dtype=torch.float32)
    yield Case("ties", (ties,))
    ends = torch.full((2, 1025), -3.0, device=device)
    ends[0, 0], ends[1, -1] = -2, -2
    yield Case("first and last", (ends,))
    masked = draw("masked tokens").normal(3, 100, dtype=torch.float32)
    masked[:, 1::2] = -torch.inf
    yield Case("masked tokens", (masked,))
    for what in (torch.nan, torch.inf):
        broken = draw(f"{what}").normal(4, 3000, dtype=torch.float32)
        for row, place in enumerate((0, 1023, 1500, 2999)):
            broken[row, place] = what
        yield Case(f"{what}", (broken,))
    yield Case("no rows", (torch.zeros(0, 97, device=device),))


instead(argmax, "NaN passed over")(lambda a: a["logits"].nan_to_num(nan=-torch.inf, posinf=torch.inf).argmax(-1))
instead(argmax, "highest id among equals")(lambda a: a["logits"].shape[1] - 1 - a["logits"].flip(-1).argmax(-1))
wrong(argmax, "last token skipped")(lambda a: {"logits": a["logits"][:, : max(a["logits"].shape[1] - 1, 1)]})
wrong(argmax, "starts from zero")(lambda a: {"logits": a["logits"].clamp(min=0)})
wrong(argmax, "compares in bf16")(lambda a: {"logits": a["logits"].bfloat16()})
spoilt(argmax, "returns int32")(Tensor.int)


@sound.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for rows, vocab in ((7, 97), (300, 1000), (0, 97)):
        d = Draw(f"{rows}x{vocab}", dtype, device)
        logits, tokens = d.normal(rows, vocab, dtype=torch.float32), d.integers(rows, below=vocab)
        yield Case(f"{d.name}, all sound", (logits, tokens), decode=True)
        if rows:
            broken = logits.clone()
            for first, what in enumerate((torch.nan, torch.inf, -torch.inf)):
                broken[torch.arange(first, rows, 4, device=device), tokens[first::4]] = what
            yield Case(f"{d.name}, three in four not finite", (broken, tokens), decode=True)
            outside = torch.cat((tokens[:-1], tokens.new_tensor([2**31 - 1]))) - 5 * (tokens % 2)
            yield Case(f"{d.name}, some outside", (logits, outside), decode=True)
    wide = d.normal(4, 64, dtype=torch.float32)
    yield Case("a part of wider rows", (wide[:, :33], d.integers(4, below=33)))


spoilt(sound, "the host is told of no row")(lambda found: (found[0], found[0]))
spoilt(sound, "the next step is fed -1")(lambda found: (found[1], found[1]))
instead(sound, "only NaN is not sound")(
    lambda a: sound(a["logits"].nan_to_num(nan=torch.nan, posinf=1.0, neginf=1.0), a["tokens"])
)


Row = tuple[float, int, float, float]  # temperature, top_k, top_p, min_p
PLAIN: Row = (1.0, 0, 1.0, 0.0)
ROWS: dict[str, tuple[Row, ...]] = {
    "greedy": ((0.0, 0, 1.0, 0.0), (0.0, 5, 0.5, 0.1)),
    "plain": (PLAIN,) * 8,
    "temperatures": tuple((t, 0, 1.0, 0.0) for t in (0.1, 0.7, 2.0, 0.0, 10.0)),
    "top-k": tuple((1.5, k, 1.0, 0.0) for k in (1, 2, 5, 20, 50, 10**6, 0)),
    "top-p": tuple((1.5, 0, p, 0.0) for p in (0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0)),
    "min-p": tuple((1.5, 0, 1.0, p) for p in (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)),
    "all together": tuple(product((0.7, 1.5, 3.0), (3, 40), (0.6, 0.95), (0.0, 0.2))),
    "mixed": (
        (0.0, 0, 1.0, 0.0),
        PLAIN,
        (0.8, 40, 1.0, 0.0),
        (2.0, 0, 0.8, 0.0),
        (1.2, 0, 1.0, 0.3),
        (5.0, 7, 0.9, 0.05),
    ),
}


def parameters(rows: tuple[Row, ...], device: torch.device) -> tuple[Tensor, ...]:
    kinds = (torch.float32, torch.int64, torch.float32, torch.float32)
    columns = zip(*rows, strict=True) if rows else ((),) * 4
    return tuple(torch.tensor(column, dtype=kind, device=device) for column, kind in zip(columns, kinds, strict=True))


def case(d: Draw, rows: tuple[Row, ...], vocab: int, *, scale: float = 2.0, decode: bool = False) -> Case:
    """Random logits, seeds over all 64 bits, positions beyond 32 bits in every third row."""
    logits = d.normal(len(rows), vocab, scale=scale, dtype=torch.float32)
    seeds = d.integers(len(rows), below=2**63 - 1)
    seeds[::2] *= -1
    positions = d.integers(len(rows), below=100_000)
    positions[::3] += 2**33
    return Case(d.name, (logits, *parameters(rows, d.device), seeds, positions), decode=decode)


@sample.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    for name, rows in ROWS.items():
        for vocab in (1000, 97):
            yield case(draw(f"{name} of {vocab}"), rows, vocab)
    yield case(draw("large vocabulary"), ROWS["mixed"], 128256, decode=True)
    yield case(draw("vocabulary of 49152"), ROWS["plain"], 49152, decode=True)
    yield case(draw("vocabulary of 6"), ROWS["all together"], 6)
    yield case(draw("vocabulary of 1"), ROWS["mixed"], 1)
    for scale in (1e-3, 300.0):
        yield case(draw(f"times {scale:g}"), ROWS["mixed"], 500, scale=scale)
    yield case(draw("no rows"), (), 97)
    masked = case(draw("masked tokens"), ROWS["mixed"], 100)
    masked.flow[0][:, 1::2] = -torch.inf
    yield masked
    broken = case(draw("not finite"), (*ROWS["plain"], *ROWS["mixed"]), 9000)
    for row, (place, what) in enumerate(
        ((0, torch.nan), (8999, torch.nan), (4500, torch.inf), (slice(None), -torch.inf))
    ):
        broken.flow[0][row, place] = broken.flow[0][row + 8, place] = what
    yield broken
    yield ties(device)
    yield brink(device)


def ties(device: torch.device) -> Case:
    """Twenty equally likely tokens where top_k, or the nucleus, ends among them: all stay."""
    rows = ((1.0, 5, 1.0, 0.0), (1.0, 0, 0.3, 0.0)) * 8
    logits = torch.full((16, 200), -5.0, device=device)
    logits[:, 3::10] = 4.0
    seeds = torch.arange(16, device=device)
    return Case("ties at the cut", (logits, *parameters(rows, device), seeds, seeds + 7))


def brink(device: torch.device) -> Case:
    """Token 5 draws a word of the largest 24 bits in the first row, and of the smallest in the second.

    Rounded carelessly its u is 1 and its noise infinite: the first row's logit is low enough to lose with the true
    noise (17.3), and the second row keeps token 5 alone, with the true noise (-2.9).
    """
    logits = torch.zeros(2, 8, device=device)
    logits[0, 5], logits[1, 5] = -30.0, 5.0
    seeds, positions = torch.tensor([7, 7], device=device), torch.tensor([4817124, 4161654], device=device)
    return Case("extreme words", (logits, *parameters((PLAIN, (1.0, 1, 1.0, 0.0)), device), seeds, positions))


wrong(sample, "temperature ignored")(lambda a: {"temperature": a["temperature"].where(a["temperature"] == 0, 1)})
wrong(sample, "top-k ignored")(lambda a: {"top_k": torch.zeros_like(a["top_k"])})
wrong(sample, "top-k one too many")(lambda a: {"top_k": a["top_k"] + (a["top_k"] > 0)})
wrong(sample, "top-p ignored")(lambda a: {"top_p": torch.ones_like(a["top_p"])})
wrong(sample, "min-p ignored")(lambda a: {"min_p": torch.zeros_like(a["min_p"])})
wrong(sample, "min-p before temperature")(lambda a: {"min_p": a["min_p"] ** (1 / a["temperature"].clamp(min=0.1))})
wrong(sample, "seed cut to 32 bits")(lambda a: {"seeds": a["seeds"] & 0xFFFFFFFF})
wrong(sample, "position cut to 32 bits")(lambda a: {"positions": a["positions"] & 0xFFFFFFFF})
wrong(sample, "one seed for all rows")(lambda a: {"seeds": a["seeds"][:1].expand_as(a["seeds"])})
wrong(sample, "seed per step, not per position")(lambda a: {"positions": torch.zeros_like(a["positions"])})


wrong(sample, "greedy rows drawn too")(lambda a: {"temperature": a["temperature"].clamp(min=0.5)})


@instead(sample, "u rounded to float32")
def _(a: Arguments) -> Tensor:
    noise = -(-(-(-noise_of(a)).exp()).exp().float().log()).log()
    return drawn(a, least_kept(a), noise)


@wrong(sample, "ties cut at top-k tokens")
def _(a: Arguments) -> Arguments:
    rank = a["logits"].sort(stable=True, dim=-1, descending=True).indices.argsort(-1)
    beyond = (rank >= a["top_k"][:, None]) & (a["top_k"][:, None] > 0)
    return {"logits": a["logits"].masked_fill(beyond, -torch.inf)}


@instead(sample, "nucleus without the token that completes it")
def _(a: Arguments) -> Tensor:
    scaled, least = tempered(a), least_kept(a)
    above = scaled.masked_fill(scaled <= least, torch.inf).amin(-1, keepdim=True)
    return drawn(a, above.where((a["top_p"][:, None] < 1) & above.isfinite(), least), noise_of(a))


def tempered(a: Arguments) -> Tensor:
    """Logits over temperature, where it is not 0."""
    scaled: Tensor = a["logits"] / a["temperature"].where(a["temperature"] > 0, 1)[:, None]
    return scaled


def least_kept(a: Arguments) -> Tensor:
    return cutoff(tempered(a), a["top_k"], a["top_p"], a["min_p"])


def noise_of(a: Arguments) -> Tensor:
    """The noise of each row's seed and position, in float64."""
    return gumbel(a["seeds"], a["positions"], a["logits"].shape[1])


def drawn(a: Arguments, least: Tensor, noise: Tensor) -> Tensor:
    """The last step of sample: what noise picks among the scaled logits of at least `least`."""
    scaled = tempered(a)
    kept = scaled.masked_fill(scaled < least, -torch.inf)
    return (kept + noise).argmax(-1).where(a["temperature"] > 0, a["logits"].argmax(-1))
