"""Log-probabilities of a prompt's own tokens, from the chunks that compute it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..models import Model
from .plan import Chunk, Plan
from .sampled import Sampled
from .sampler import Drawn
from .scores import Scores

ROWS = 64
"""Rows whose logits exist at one time."""


def scanned(drawn: Drawn, plan: Plan, model: Model, hidden: Tensor) -> Drawn:
    """What was drawn, and with it the scores that chunks of this plan are asked for, by the chunk's number."""
    scans = dict(_scans(plan, model, hidden))
    if not scans:
        return drawn

    def note(sampled: Sampled, copies: list[Tensor]) -> None:
        left = iter(copies)
        sampled.prompts = {
            number: [row for part in parts for row in part.read([next(left) for _ in part.tensors])]
            for number, parts in scans.items()
        }

    return drawn.beside([tensor for parts in scans.values() for part in parts for tensor in part.tensors], note)


def _scans(plan: Plan, model: Model, hidden: Tensor) -> Iterator[tuple[int, list[Scores]]]:
    """The scores of each such chunk, in parts."""
    for number, chunk, first in plan.placed():
        if targets := _targets(chunk):
            wanted = chunk.sequence.request.sampling.prompt_logprobs or 0
            ids = torch.tensor(targets, dtype=torch.int64, device=hidden.device)
            rows = torch.arange(first, first + len(targets), device=hidden.device)
            yield (
                number,
                [
                    Scores.of(model.logits(hidden, at), some, [wanted] * len(some))
                    for at, some in zip(torch.split(rows, ROWS), torch.split(ids, ROWS), strict=True)
                ],
            )


def _targets(chunk: Chunk) -> list[int]:
    """The prompt's tokens that follow the chunk's rows, where their scores are wanted and not known yet."""
    sequence, stop = chunk.sequence, min(chunk.start + chunk.count, chunk.sequence.prompt - 1)
    if sequence.scanned is None or stop <= max(sequence.scanned, chunk.start):
        return []
    return sequence.tokens[chunk.start + 1 : stop + 1].tolist()
