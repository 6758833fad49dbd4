"""A prompt as one vector: its hidden states put together, from the chunks that compute it."""

from __future__ import annotations

from torch import Tensor

from .plan import Plan
from .sampled import Sampled
from .sampler import Drawn


def pooled(drawn: Drawn, plan: Plan, hidden: Tensor) -> Drawn:
    """What was drawn, and with it the float32 vectors [width] of the chunks whose prompts are to be pooled.

    Of hidden states [T, width]: their sum for the mean, which whoever has all chunks divides; the last row for "last".
    """
    vectors: dict[int, Tensor] = {}
    for number, chunk, first in plan.placed():
        rows = hidden[first : first + chunk.count]
        if chunk.sequence.request.pool == "mean":
            vectors[number] = rows.float().sum(0)
        elif chunk.sequence.request.pool == "last" and chunk.samples:
            vectors[number] = rows[-1].float()
    if not vectors:
        return drawn

    def note(sampled: Sampled, copies: list[Tensor]) -> None:
        sampled.pooled = {n: copy.tolist() for n, copy in zip(vectors, copies, strict=True)}

    return drawn.beside([*vectors.values()], note)
