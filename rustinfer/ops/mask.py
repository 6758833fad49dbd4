"""Which tokens a row may take at all, and what speaks for or against single tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw, of_logits
from .mutants import Arguments, instead, wrong


@op(mutates=("logits",))
def mask_logits(logits: Tensor, rows: Tensor, bitmask: Tensor) -> None:
    """Set the logits of forbidden tokens to minus infinity, in the named rows alone.

    Row rows[i] may take token t where bit t % 32 of bitmask[i, t // 32] is set. logits: [R, vocab] fp32, written in
    place; rows: [K] int64, no two alike; bitmask: [K, ceil(vocab / 32)] int32, what lies beyond the vocabulary is
    ignored.
    """
    logits[rows] = logits[rows].masked_fill(~allowed(bitmask, logits.shape[1]), -torch.inf)


def allowed(bitmask: Tensor, vocab: int) -> Tensor:
    """The bits as booleans: [K, vocab]."""
    bits = bitmask[:, :, None] >> torch.arange(32, dtype=torch.int32, device=bitmask.device) & 1
    return bits.flatten(1)[:, :vocab].bool()


@op(mutates=("logits",))
def bias_logits(logits: Tensor, rows: Tensor, tokens: Tensor, biases: Tensor) -> None:
    """Add biases[i] to the logit of token tokens[i] in row rows[i].

    logits: [R, vocab] fp32, written in place; rows, tokens: [N] int64, no two pairs alike; biases: [N] fp32.
    """
    logits[rows, tokens] += biases


def masked(d: Draw, rows: int, vocab: int, chosen: int, *, scale: float = 3.0) -> Case:
    """Random logits and bits for some of the rows, out of order; the bits beyond the vocabulary are random too."""
    bits = d.integers(chosen, -(-vocab // 32), below=2**32).sub(2**31).to(torch.int32)
    logits = d.normal(rows, vocab, scale=scale, dtype=torch.float32)
    return Case(d.name, (logits, d.shuffled(rows)[:chosen], bits), decode=rows > 3)


@mask_logits.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    shapes = ((1, 64, 1), (5, 1000, 3), (3, 97, 3), (8, 31, 2), (2, 1, 1), (2, 49152, 1), (4, 33, 4))
    yield from of_logits(masked, draw, shapes)
    case = masked(draw("all, nothing, one"), 3, 65, 3)
    case.flow[2][0], case.flow[2][1], case.flow[2][2] = -1, 0, 0
    case.flow[2][2, 1] = -(2**31)
    yield case


wrong(mask_logits, "forbidden and allowed exchanged")(lambda a: {"bitmask": ~a["bitmask"]})
wrong(mask_logits, "first rows, not the named ones")(lambda a: {"rows": torch.arange(len(a["rows"]))})
wrong(mask_logits, "bits from the highest")(lambda a: {"bitmask": flipped(a["bitmask"])})
wrong(mask_logits, "sign bit lost")(lambda a: {"bitmask": a["bitmask"] & 0x7FFFFFFF})
wrong(mask_logits, "words of 16 bits")(lambda a: {"bitmask": a["bitmask"] & 0xFFFF})


@instead(mask_logits, "a large negative number")
def _(a: Arguments) -> None:
    rows, kept = a["rows"], allowed(a["bitmask"], a["logits"].shape[1])
    a["logits"][rows] = a["logits"][rows].masked_fill(~kept, -1e4)


@instead(mask_logits, "last token left alone")
def _(a: Arguments) -> None:
    last = a["logits"][:, -1].clone()
    mask_logits(**a)
    a["logits"][:, -1] = last


def flipped(bitmask: Tensor) -> Tensor:
    """Each word with its bits in reverse."""
    place = torch.arange(31, -1, -1, dtype=torch.int64)
    bits = bitmask[:, :, None].long() >> torch.arange(32) & 1
    return (bits << place).sum(-1).to(torch.int32)


def biased(d: Draw, rows: int, vocab: int, count: int, *, scale: float = 3.0) -> Case:
    """Biases for pairs of row and token, in no order."""
    place = d.shuffled(rows * vocab)[:count]
    logits, biases = (d.normal(*shape, scale=scale, dtype=torch.float32) for shape in ((rows, vocab), (count,)))
    return Case(d.name, (logits, place // max(vocab, 1), place % max(vocab, 1), biases), decode=rows > 3)


@bias_logits.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    shapes = ((1, 8, 3), (5, 1000, 700), (2, 49152, 2000), (3, 5, 15), (1, 1, 1))
    yield from of_logits(biased, partial(Draw, dtype=dtype, device=device), shapes, some=60)


wrong(bias_logits, "taken off")(lambda a: {"biases": -a["biases"]})
wrong(bias_logits, "row 0 only")(lambda a: {"rows": torch.zeros_like(a["rows"])})
wrong(bias_logits, "last one forgotten")(lambda a: {k: a[k][:-1] for k in ("rows", "tokens", "biases")})


@instead(bias_logits, "replaces the logit")
def _(a: Arguments) -> None:
    a["logits"][a["rows"], a["tokens"]] = a["biases"]
