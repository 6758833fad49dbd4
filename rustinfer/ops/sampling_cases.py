"""Conformance cases of argmax and sample, and wrong versions of them.

Tokens are compared exactly, so no case may hold a near tie: a test of the ops checks that each row's winner is clear.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case

from .inputs import Draw
from .mutants import wrong
from .philox import gumbel
from .sampling import argmax, cutoff, sample


@argmax.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

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
    yield Case("no rows", (torch.zeros(0, 97, device=device),))


@argmax.mutant("highest id among equals")
def _(logits: Tensor) -> Tensor:
    return logits.shape[1] - 1 - logits.flip(-1).argmax(-1)


@argmax.mutant("last token skipped")
def _(logits: Tensor) -> Tensor:
    return logits[:, : max(logits.shape[1] - 1, 1)].argmax(-1)


@argmax.mutant("starts from zero")
def _(logits: Tensor) -> Tensor:
    return logits.clamp(min=0).argmax(-1)


@argmax.mutant("compares in bf16")
def _(logits: Tensor) -> Tensor:
    return logits.bfloat16().argmax(-1)


@argmax.mutant("returns int32")
def _(logits: Tensor) -> Tensor:
    return logits.argmax(-1).int()


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
    """The rows' temperature, top_k, top_p and min_p as tensors."""
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
    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

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


wrong(sample, "temperature ignored", lambda a: {"temperature": a["temperature"].where(a["temperature"] == 0, 1)})
wrong(sample, "top-k ignored", lambda a: {"top_k": torch.zeros_like(a["top_k"])})
wrong(sample, "top-k one too many", lambda a: {"top_k": a["top_k"] + (a["top_k"] > 0)})
wrong(sample, "top-p ignored", lambda a: {"top_p": torch.ones_like(a["top_p"])})
wrong(sample, "min-p ignored", lambda a: {"min_p": torch.zeros_like(a["min_p"])})
wrong(sample, "min-p before temperature", lambda a: {"min_p": a["min_p"] ** (1 / a["temperature"].clamp(min=0.1))})
wrong(sample, "seed cut to 32 bits", lambda a: {"seeds": a["seeds"] & 0xFFFFFFFF})
wrong(sample, "position cut to 32 bits", lambda a: {"positions": a["positions"] & 0xFFFFFFFF})
wrong(sample, "one seed for all rows", lambda a: {"seeds": a["seeds"][:1].expand_as(a["seeds"])})
wrong(sample, "seed per step, not per position", lambda a: {"positions": torch.zeros_like(a["positions"])})


@sample.mutant("u rounded to float32")
def _(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, positions: Tensor
) -> Tensor:
    exact = gumbel(seeds, positions, logits.shape[1])
    noise = -(-(-(-exact).exp()).exp().float().log()).log()
    return drawn(logits, temperature, cutoff(tempered(logits, temperature), top_k, top_p, min_p), noise)


@sample.mutant("ties cut at top-k tokens")
def _(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, positions: Tensor
) -> Any:
    rank = logits.sort(stable=True, dim=-1, descending=True).indices.argsort(-1)
    logits = logits.masked_fill((rank >= top_k[:, None]) & (top_k[:, None] > 0), -torch.inf)
    return sample(logits, temperature, top_k, top_p, min_p, seeds, positions)


@sample.mutant("nucleus without the token that completes it")
def _(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, positions: Tensor
) -> Tensor:
    scaled = tempered(logits, temperature)
    least = cutoff(scaled, top_k, top_p, min_p)
    above = scaled.masked_fill(scaled <= least, torch.inf).amin(-1, keepdim=True)
    short = (top_p[:, None] < 1) & above.isfinite()
    return drawn(logits, temperature, above.where(short, least), gumbel(seeds, positions, logits.shape[1]))


@sample.mutant("greedy rows drawn too")
def _(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, positions: Tensor
) -> Any:
    return sample(logits, temperature.clamp(min=0.5), top_k, top_p, min_p, seeds, positions)


def tempered(logits: Tensor, temperature: Tensor) -> Tensor:
    """Logits over temperature, where it is not 0."""
    return logits / temperature.where(temperature > 0, 1)[:, None]


def drawn(logits: Tensor, temperature: Tensor, least: Tensor, noise: Tensor) -> Tensor:
    """The last step of sample: what noise picks among the scaled logits of at least `least`."""
    scaled = tempered(logits, temperature)
    kept = scaled.masked_fill(scaled < least, -torch.inf)
    return (kept + noise).argmax(-1).where(temperature > 0, logits.argmax(-1))
