"""Log-probabilities of a prompt's own tokens, from the chunks that compute it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import Model
from .plan import Chunk, Plan
from .sampled import Sampled
from .sampler import Drawn
from .scores import Scores

ROWS = 64
"""Rows whose logits exist at one time."""


@dataclass(frozen=True)
class Scan:
    """The scores of one chunk, in parts, by the chunk's number in its plan."""

    number: int
    parts: list[Scores]


def scanned(drawn: Drawn, plan: Plan, model: Model, hidden: Tensor) -> Drawn:
    """What was drawn, and with it the scores that chunks of this plan are asked for."""
    scans = [scan for scan in _scans(plan, model, hidden) if scan.parts]
    if not scans:
        return drawn
    tensors = [tensor for scan in scans for part in scan.parts for tensor in part.tensors]
    return Drawn(drawn.tokens, [*drawn.tensors, *tensors], _reader(drawn.read, len(drawn.tensors), scans))


def _reader(read: Callable[[list[Tensor]], Sampled], own: int, scans: list[Scan]) -> Callable[[list[Tensor]], Sampled]:
    def both(copies: list[Tensor]) -> Sampled:
        sampled, others = read(copies[:own]), iter(copies[own:])
        sampled.prompts = {
            scan.number: [row for part in scan.parts for row in part.read([next(others) for _ in part.tensors])]
            for scan in scans
        }
        return sampled

    return both


def _scans(plan: Plan, model: Model, hidden: Tensor) -> Iterator[Scan]:
    first = len(plan.decodes)
    for number, chunk in enumerate(plan.chunks):
        if targets := _targets(chunk):
            wanted = chunk.sequence.request.sampling.prompt_logprobs or 0
            ids = torch.tensor(targets, dtype=torch.int64, device=hidden.device)
            rows = torch.arange(first, first + len(targets), device=hidden.device)
            parts = [
                Scores.of(model.logits(hidden, rows[at : at + ROWS]), some, [wanted] * len(some))
                for at in range(0, len(targets), ROWS)
                if len(some := ids[at : at + ROWS])
            ]
            yield Scan(number, parts)
        first += chunk.count


def _targets(chunk: Chunk) -> list[int]:
    """The prompt's tokens that follow the chunk's rows, where their scores are wanted and not known yet."""
    sequence, stop = chunk.sequence, min(chunk.start + chunk.count, chunk.sequence.prompt - 1)
    if sequence.scanned is None or stop <= max(sequence.scanned, chunk.start):
        return []
    return sequence.tokens[chunk.start + 1 : stop + 1].tolist()
