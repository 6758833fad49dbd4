"""Runs the model: picks the wiring that fits a step, and turns its last rows into tokens."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np
import torch
from torch import Tensor

from ..models.model import Cache
from ..registry import Faults
from .batch import Shape
from .flight import Arrivals, Checked, Done, Drawing
from .graphs import Decode
from .lanes import Lanes
from .mixed import Mixed
from .plan import Plan
from .pool import pooled
from .sampled import Flight, Sampled
from .sampler import Drawn, Sampler
from .scan import scanned
from .talk import Talks
from .verify import verified


class Runner:
    """One model, bound for any step (`mixed`) and for decoding by so many sequences (`decodes`, fewest rows first).

    `depth` steps may be in flight when another is launched; all run in the order of their launch. Raises whatever a
    kernel raises; a step that could not be launched may be launched again once those before it have landed: it writes
    the same values to the same slots, and takes its tokens from the host. A flight's result raises KernelFault where a
    kernel gave up: then nothing in the cache can be trusted.
    """

    def __init__(
        self,
        mixed: Mixed,
        decodes: Items[Decode],
        cache: Cache,
        lanes: Lanes,
        sampler: Sampler,
        depth: int = 0,
        faults: Faults | None = None,
    ) -> None:
        self.mixed, self.decodes, self.cache, self.depth = mixed, decodes, cache, depth
        self.lanes, self.sampler, self.faults = lanes, sampler, faults
        self._arrivals = Arrivals(decodes[-1].rows, lanes.device)
        self._talks = Talks(lanes.device)
        self._inference = torch.inference_mode()  # as a decorator it is made anew at each call

    def launch(self, plan: Plan) -> Flight:
        """Compute the plan's rows, and draw a token for each sequence that samples."""
        try:
            self.lanes.follow(plan)
            if plan.chunks:
                flight = self._mixed(plan)
            else:
                with self._inference:
                    flight = self._decode(plan)
            self.lanes.launched()
        except Exception:
            self.lanes.forget(plan)
            self.sampler.forget()
            raise
        return Checked(flight, self.faults) if self.faults else flight

    def _decode(self, plan: Plan) -> Flight:
        lanes = self.lanes
        steps = [decode for decode in self.decodes if decode.rows >= lanes.count]
        if plan.count > 1:
            return self._several(steps[0], plan.count)
        step = next(decode for decode in steps if decode.ready)
        logits, drawing = step.forward(lanes.count, lanes.width(lanes.rows))
        plain, greedy = lanes.mode
        if plain:
            told = step.tell(logits, drawing, greedy)[: lanes.count]
            lanes.advanced()
            return self._arrivals.fetch(told, None if lanes.in_order else lanes.rows)
        index = lanes.index()
        logits = logits[: lanes.count] if lanes.in_order else logits[index]
        drawn = self.sampler(logits, plan.decodes, lanes.drawn[index])
        lanes.put(index, drawn.tokens, logits.shape[1])
        lanes.advanced()
        return Drawing(drawn)

    def _several(self, step: Decode, count: int) -> Flight:
        lanes = self.lanes
        talk = self._talks.begin(count, lanes.count, None if lanes.in_order else lanes.rows)
        step.run(lanes.count, lanes.width(lanes.rows), talk.told, talk.stopped)
        lanes.advanced(count)
        talk.launched()
        return talk

    def _mixed(self, plan: Plan) -> Flight:
        lanes, mixed = self.lanes, self.mixed
        shape = mixed.shape(plan)
        batch = mixed.fill(plan, shape)
        hidden = mixed.forward(shape, plan)
        with self._inference:  # 20 us where it comes once in a while: a graph is launched without
            flight = self._draw(plan, shape, np.array(batch.rows, np.int64), hidden)
        lanes.drawn_at[batch.moved] = batch.drawn_at
        return flight

    def _draw(self, plan: Plan, shape: Shape, rows: np.ndarray, hidden: Tensor) -> Flight:
        lanes, mixed, count = self.lanes, self.mixed, len(rows)
        if not count and not plan.every:
            return Done(Sampled([]))
        if not plan.every and lanes.plain(rows):
            return self._arrivals.fetch(mixed.tell(hidden, shape, lanes.greedy(rows))[:count], first=lanes.taken)
        drawn = Drawn(lanes.drawn[:0], [], lambda tensors: Sampled([]))
        if count:
            logits = mixed.logits(hidden, shape, count)
            index = mixed.batcher.sampling(shape).lanes[:count]
            drawn = self.sampler(logits, plan.sampling(), lanes.drawn[index])
            lanes.put(index, drawn.tokens, logits.shape[1])
        drawn = verified(drawn, plan, mixed, hidden)
        return Drawing(pooled(scanned(drawn, plan, mixed.model, hidden), plan, hidden))

    def relieve(self) -> None:
        """Give back what the allocator keeps: a step has failed, perhaps for want of memory."""
        if self.lanes.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def clear(self, pages: Items[int]) -> None:
        """Write zeros over pages that may hold numbers that are not finite: a mask does not stop those."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.lanes.device)
        for keys, values in self.cache:
            keys[index] = 0
            values[index] = 0
