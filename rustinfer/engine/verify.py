"""What the sequence itself draws at every place of a guess."""

from __future__ import annotations

import torch
from torch import Tensor

from .draw import Draw
from .lanes import Lanes
from .mixed import Mixed
from .plan import Plan
from .sampled import Sampled
from .sampler import Drawn


def verified(drawn: Drawn, plan: Plan, mixed: Mixed, hidden: Tensor) -> Drawn:
    """What was drawn, and with it a token for each row of the chunks that hold a guess, by the chunk's number."""
    counts = {number: chunk.count for number, chunk in enumerate(plan.chunks) if chunk.guess}
    if not counts:
        return drawn
    rows, lanes, numbers = _rows(plan, hidden.device)
    told = _told(mixed.plainly, mixed.batcher.lanes, mixed.model.logits(hidden, rows), lanes, numbers)

    def note(sampled: Sampled, copies: list[Tensor]) -> None:
        tokens = iter(copies[0].tolist())
        sampled.verified = {number: [next(tokens) for _ in range(count)] for number, count in counts.items()}

    return drawn.beside([told], note)


def _told(draw: Draw, lanes: Lanes, logits: Tensor, owners: Tensor, numbers: Tensor) -> Tensor:
    tokens: Tensor = draw(logits, tuple(setting[owners] for setting in lanes.settings), numbers)[1]
    return tokens


def _rows(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of every row of a guess: its place in the step, its lane, and the number of the token that it draws."""
    found = [
        (first + i, chunk.sequence.row, chunk.start + 1 - chunk.sequence.prompt + i)
        for _, chunk, first in plan.placed()
        for i in range(chunk.count if chunk.guess else 0)
    ]
    rows, lanes, numbers = torch.tensor(found, dtype=torch.int64, device=device).unbind(1)
    return rows, lanes, numbers
