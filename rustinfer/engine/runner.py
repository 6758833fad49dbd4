"""Runs the model: picks the wiring that fits a step, and turns its last rows into tokens."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from ..models import Model
from ..models.model import Cache
from .batch import Batch, Batcher
from .draw import Draw
from .flight import Arrivals, Done, Drawing
from .graphs import Decode
from .lanes import Lanes
from .plan import Plan
from .pool import pooled
from .sampled import Flight, Sampled
from .sampler import Drawn, Sampler
from .scan import scanned


class Runner:
    """One model, bound for any step (`model`) and for decoding by so many sequences (`decodes`, fewest rows first).

    `depth` steps may be in flight when another is launched; all run in the order of their launch. Raises whatever a
    kernel raises; a step that could not be launched may be launched again, since it writes the same values to the same
    slots.
    """

    def __init__(
        self,
        model: Model,
        decodes: Items[Decode],
        cache: Cache,
        lanes: Lanes,
        batcher: Batcher,
        draw: Draw,
        sampler: Sampler,
        depth: int = 0,
    ) -> None:
        self.model, self.decodes, self.cache, self.depth = model, decodes, cache, depth
        self.lanes, self.batcher, self.draw, self.sampler = lanes, batcher, draw, sampler
        self._arrivals = Arrivals(decodes[-1].rows, lanes.device)

    @torch.inference_mode()
    def launch(self, plan: Plan) -> Flight:
        """Compute the plan's rows, and draw a token for each sequence that samples."""
        self.lanes.follow(plan)
        try:
            return self._mixed(plan) if plan.chunks else self._decode(plan)
        except Exception:
            self.lanes.forget()
            raise

    def _decode(self, plan: Plan) -> Flight:
        lanes = self.lanes
        step = next(decode for decode in self.decodes if decode.rows >= lanes.count)
        logits, drawing = step.forward(lanes.count, lanes.width)
        plain, greedy = lanes.mode
        if plain:
            told = step.tell(logits, drawing, greedy)[: lanes.count]
            lanes.advanced()
            return self._arrivals.fetch(told, None if lanes.index is None else lanes.rows)
        index = lanes.all[: lanes.count] if lanes.index is None else lanes.index
        drawn = self.sampler(logits[: lanes.count] if lanes.index is None else logits[index], plan.decodes)
        lanes.put(index, drawn.tokens, logits.shape[1])
        lanes.advanced()
        return Drawing(drawn)

    def _mixed(self, plan: Plan) -> Flight:
        lanes = self.lanes
        batch = self.batcher.batch(plan)
        hidden = self.model.forward(batch.step)
        flight = self._draw(plan, batch, hidden)
        lanes.drawn_at[batch.moved] = batch.drawn_at
        return flight

    def _draw(self, plan: Plan, batch: Batch, hidden: Tensor) -> Flight:
        lanes = self.lanes
        asked = [chunk.sequence for chunk in plan.chunks]
        scores = any(sequence.scanned is not None or sequence.pooled is not None for sequence in asked)
        if not len(batch.rows) and not scores:
            return Done(Sampled([]))
        if not len(batch.rows):
            nothing = Drawn(batch.picks, [], lambda tensors: Sampled([]))
            return Drawing(pooled(scanned(nothing, plan, self.model, hidden), plan, hidden))
        logits = self.model.logits(hidden, batch.picks)
        if scores or not lanes.plain(batch.rows):
            drawn = self.sampler(logits, plan.sampling())
            lanes.put(batch.lanes, drawn.tokens, logits.shape[1])
            return Drawing(pooled(scanned(drawn, plan, self.model, hidden), plan, hidden))
        settings = None if lanes.greedy(batch.rows) else tuple(s[batch.lanes] for s in lanes.settings)
        tokens, told = self.draw(logits, settings, batch.drawing)
        lanes.put(batch.lanes, tokens, logits.shape[1])
        return self._arrivals.fetch(told)

    @torch.inference_mode()
    def clear(self, pages: Items[int]) -> None:
        """Write zeros over pages that may hold numbers that are not finite: a mask does not stop those."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.lanes.device)
        for keys, values in self.cache:
            keys[index] = 0
            values[index] = 0
