"""Runs the model: picks the wiring that fits a step, and turns its last rows into tokens."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import Model
from ..models.model import Cache
from .batch import Batcher
from .flight import Drawing
from .plan import Plan
from .sampled import Flight, Sampled
from .sampler import Drawn, Sampler
from .scan import scanned


@dataclass(frozen=True)
class Wiring:
    """A model bound for steps of at most `rows` sequences with one row each, or (None) for any step."""

    model: Model
    rows: int | None = None

    def takes(self, plan: Plan) -> bool:
        """Whether this step may run here."""
        return self.rows is None or (len(plan) <= self.rows and all(chunk.count == 1 for chunk in plan.chunks))


class Runner:
    """One model in several wirings over the same weights and cache. `wirings` are tried in order; the last takes all.

    `depth` steps may be in flight when another is launched; all run in the order of their launch. Raises whatever a
    kernel raises; a step that could not be launched may be launched again, since it writes the same values to the same
    slots.
    """

    def __init__(
        self, wirings: Items[Wiring], cache: Cache, batcher: Batcher, sampler: Sampler, depth: int = 0
    ) -> None:
        self.wirings, self.cache, self.batcher, self.sampler, self.depth = wirings, cache, batcher, sampler, depth

    @torch.inference_mode()
    def launch(self, plan: Plan) -> Flight:
        """Compute the plan's rows, and draw a token for each sequence that samples."""
        model = next(wiring.model for wiring in self.wirings if wiring.takes(plan))
        step = self.batcher.step(plan)
        hidden = model.forward(step)
        if sequences := plan.sampling():
            drawn = self.sampler(model.logits(hidden, last_rows(plan, step.query_starts)), sequences)
        else:
            nothing = hidden.new_zeros(0, dtype=torch.int64)
            drawn = Drawn(nothing, [], lambda tensors: Sampled([]))
        self.batcher.drew(plan, drawn.tokens)
        return Drawing(scanned(drawn, plan, model, hidden))

    @torch.inference_mode()
    def clear(self, pages: Items[int]) -> None:
        """Write zeros over pages that may hold numbers that are not finite: a mask does not stop those."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.batcher.device)
        for keys, values in self.cache:
            keys[index] = 0
            values[index] = 0


def last_rows(plan: Plan, query_starts: Tensor) -> Tensor:
    """The last row of each sequence that samples, int64."""
    ends = query_starts[1:].long() - 1
    if all(chunk.samples for chunk in plan.chunks):
        return ends
    keep = [*range(len(plan.decodes)), *(i for i, c in enumerate(plan.chunks, len(plan.decodes)) if c.samples)]
    return ends[torch.tensor(keep, device=ends.device)]
