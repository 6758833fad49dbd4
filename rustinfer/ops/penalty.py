"""Penalties for tokens that have already been seen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw, of_logits
from .mutants import Arguments, instead, wrong

PROMPT = 1 << 30


@op(mutates=("logits",))
def penalize(
    logits: Tensor,
    rows: Tensor,
    counts: Tensor,
    lanes: Tensor,
    presence: Tensor,
    frequency: Tensor,
    repetition: Tensor,
    *,
    prompt: int = PROMPT,
) -> None:
    """Lower the logits of seen tokens, in the named rows: Hugging Face's repetition penalty, then OpenAI's two.

    counts[lanes[i], t] is how often token t is in the output of row rows[i], and `prompt` more if it is in the prompt:
    a number that no output is as long as.
    A token of either has its logit divided by repetition if positive, else multiplied by it; then
    frequency * (times it is in the output) + presence * (is it in the output) is taken off.
    logits: [R, vocab] fp32, written in place; rows, lanes: [K] int64, no row twice; counts: [N, vocab] int32; presence,
    frequency, repetition: [K] fp32.
    """
    seen, asked = counts[lanes], logits[rows]
    said, factor = (seen % prompt).to(logits.dtype), repetition[:, None]
    asked = torch.where(seen > 0, torch.where(asked > 0, asked / factor, asked * factor), asked)
    logits[rows] = asked - frequency[:, None] * said - presence[:, None] * (said > 0)


def example(d: Draw, rows: int, vocab: int, chosen: int, *, lanes: int = 0, scale: float = 3.0) -> Case:
    """Random logits and counts, most of them none, for some of the rows, out of order; the first asks for nothing."""
    size = lanes or chosen + 2
    said = d.integers(size, vocab, below=9).sub(5).clamp(min=0)
    counts = (said + d.integers(size, vocab, below=4).eq(0) * PROMPT).to(torch.int32)
    presence, frequency = (d.uniform(chosen, low=-2, high=2, dtype=torch.float32) for _ in range(2))
    repetition = d.uniform(chosen, low=0.5, high=2, dtype=torch.float32)
    presence[:1], frequency[:1], repetition[:1] = 0, 0, 1
    logits = d.normal(rows, vocab, scale=scale, dtype=torch.float32)
    flow = logits, d.shuffled(rows)[:chosen], counts, d.shuffled(size)[:chosen], presence, frequency, repetition
    return Case(d.name, flow, decode=rows > 3)


SHAPES = ((1, 8, 1), (5, 1000, 4), (3, 97, 3), (2, 5, 1), (4, 64, 2), (2, 49152, 2))


@penalize.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    draw = partial(Draw, dtype=dtype, device=device)
    yield from of_logits(example, draw, SHAPES, some=3)
    yield example(draw("many lanes in no use"), 3, 50, 2, lanes=40)
    case = example(draw("nothing said yet"), 3, 50, 3)
    case.flow[2].bitwise_and_(PROMPT)
    yield case
    case = example(draw("an empty prompt"), 3, 50, 3)
    case.flow[2].remainder_(PROMPT)
    yield case
    case = example(draw("another number for prompts"), 3, 50, 2)
    counts = case.flow[2] % PROMPT + (case.flow[2] >= PROMPT) * 4096
    yield Case(case.name, (*case.flow[:2], counts.to(torch.int32), *case.flow[3:]), {"prompt": 4096})
    case = example(draw("a long output"), 2, 20, 2)
    case.flow[2][:, ::3] = PROMPT + 131_071
    yield case


wrong(penalize, "prompt counts as output")(lambda a: {"counts": (a["counts"] % PROMPT) + (a["counts"] >= PROMPT).int()})
wrong(penalize, "prompt not repeated")(lambda a: {"counts": a["counts"] % PROMPT})
wrong(penalize, "presence and frequency exchanged")(lambda a: {"presence": a["frequency"], "frequency": a["presence"]})
wrong(penalize, "counts of at most one")(
    lambda a: {"counts": a["counts"] // PROMPT * PROMPT + (a["counts"] % PROMPT > 0).int()}
)
wrong(penalize, "one number for prompts")(lambda a: {"prompt": PROMPT})
wrong(penalize, "first rows, not the named ones")(lambda a: {"rows": torch.arange(len(a["rows"]))})
wrong(penalize, "first lanes, not the named ones")(lambda a: {"lanes": torch.arange(len(a["lanes"]))})


@instead(penalize, "negative logits divided too")
def _(a: Arguments) -> None:
    logits, rows = a["logits"], a["rows"]
    asked = logits[rows].abs()
    before = asked.clone()
    unasked = {"presence": a["presence"] * 0, "frequency": a["frequency"] * 0}
    penalize(**a | unasked | {"logits": asked, "rows": torch.arange(len(rows))})
    logits[rows] = logits[rows] * torch.where(before > 0, asked / before, 1)
    penalize(**a | {"repetition": torch.ones_like(a["repetition"])})
