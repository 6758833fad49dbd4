"""Penalties for tokens that have already been seen."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw
from .mutants import wrong


@op(rows=("logits", "prompt", "output", "presence", "frequency", "repetition"))
def penalize(
    logits: Tensor, prompt: Tensor, output: Tensor, presence: Tensor, frequency: Tensor, repetition: Tensor
) -> Tensor:
    """Lower the logits of seen tokens: first Hugging Face's repetition penalty, then OpenAI's frequency and presence.

    A token of the prompt or the output has its logit divided by repetition if positive, else multiplied by it; then
    frequency * (times it is in the output) + presence * (is it in the output) is taken off.
    logits: [R, vocab] fp32; prompt: [R, P], output: [R, N] int64, padded with vocab; presence, frequency, repetition:
    [R] fp32. Returns new logits.
    """
    counts = occurrences(output, logits)
    seen = (counts > 0) | (occurrences(prompt, logits) > 0)
    factor = repetition[:, None]
    logits = torch.where(seen, torch.where(logits > 0, logits / factor, logits * factor), logits)
    return logits - frequency[:, None] * counts - presence[:, None] * (counts > 0)


def occurrences(tokens: Tensor, logits: Tensor) -> Tensor:
    """How often each token of the vocabulary is in each row of tokens: [R, vocab] in logits' dtype."""
    rows, vocab = logits.shape
    counts = torch.zeros(rows, vocab + 1, dtype=logits.dtype, device=logits.device)
    return counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=logits.dtype))[:, :vocab]


def example(d: Draw, rows: int, vocab: int, prompt: int, output: int, *, scale: float = 3.0) -> Case:
    """Random logits and histories, each padded at its end by a different amount; the first row asks for nothing."""
    seen, said = (ragged(d, rows, n, vocab) for n in (prompt, output))
    presence, frequency = (d.uniform(rows, low=-2, high=2, dtype=torch.float32) for _ in range(2))
    repetition = d.uniform(rows, low=0.5, high=2, dtype=torch.float32)
    presence[:1], frequency[:1], repetition[:1] = 0, 0, 1
    logits = d.normal(rows, vocab, scale=scale, dtype=torch.float32)
    return Case(d.name, (logits, seen, said, presence, frequency, repetition))


def ragged(d: Draw, rows: int, width: int, vocab: int) -> Tensor:
    """Token ids that repeat often, each row padded after a random length."""
    tokens = d.integers(rows, width, below=max(vocab // 3, 1)) * 2 % vocab
    ends = d.integers(rows, 1, below=width + 1)
    return tokens.where(torch.arange(width, device=d.device) < ends, vocab)


SHAPES = ((1, 8, 3, 2), (5, 1000, 40, 60), (3, 97, 200, 300), (2, 5, 30, 30), (4, 64, 7, 9))


@penalize.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    def draw(name: str) -> Draw:
        return Draw(name, dtype, device)

    for rows, vocab, prompt, output in SHAPES:
        yield example(draw(f"{rows}x{vocab}, {prompt} and {output} tokens"), rows, vocab, prompt, output)
    for scale in (1e-3, 300.0):
        yield example(draw(f"times {scale:g}"), 4, 50, 20, 30, scale=scale)
    yield example(draw("no output yet"), 3, 50, 20, 0)
    yield example(draw("no prompt"), 3, 50, 0, 20)
    yield example(draw("no rows"), 0, 50, 4, 4)
    masked = example(draw("masked tokens"), 3, 50, 20, 30)
    masked.flow[0][:, ::7] = -torch.inf
    yield masked
    d = draw("last token of the vocabulary")
    case = example(d, 2, 20, 4, 4)
    case.flow[1][:, 0], case.flow[2][:, 0] = 19, 19
    yield Case(d.name, case.flow, decode=True)


def nothing(tokens: Tensor, logits: Tensor) -> Tensor:
    """Token ids that are all padding."""
    return torch.full_like(tokens, logits.shape[1])


wrong(penalize, "prompt counts as output", lambda a: {"output": torch.cat((a["prompt"], a["output"]), 1)})
wrong(penalize, "prompt not repeated", lambda a: {"prompt": nothing(a["prompt"], a["logits"])})
wrong(penalize, "presence and frequency exchanged", lambda a: {"presence": a["frequency"], "frequency": a["presence"]})
wrong(penalize, "last token of the output forgotten", lambda a: {"output": a["output"][:, :-1]})
wrong(penalize, "writes into the logits", lambda a: {"logits": a["logits"].mul_(1.5)})
wrong(penalize, "padding is a token", lambda a: {"output": a["output"].clamp(max=a["logits"].shape[1] - 1)})


@penalize.mutant("negative logits divided too")
def _(
    logits: Tensor, prompt: Tensor, output: Tensor, presence: Tensor, frequency: Tensor, repetition: Tensor
) -> Tensor:
    counts = occurrences(output, logits)
    seen = (counts > 0) | (occurrences(prompt, logits) > 0)
    logits = torch.where(seen, logits / repetition[:, None], logits)
    return logits - frequency[:, None] * counts - presence[:, None] * (counts > 0)
