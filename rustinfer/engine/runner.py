"""Runs the model: picks the wiring that fits a step, and turns its last rows into tokens."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from ..models import Model
from ..models.model import Cache
from .batch import Batcher
from .sampled import Sampled
from .sampler import Sampler
from .scheduler import Chunk


@dataclass(frozen=True)
class Wiring:
    """A model bound for steps of at most `rows` sequences with one row each, or (None) for any step."""

    model: Model
    rows: int | None = None

    def takes(self, chunks: Items[Chunk]) -> bool:
        """Whether a step of these chunks may run here."""
        return self.rows is None or (len(chunks) <= self.rows and all(chunk.count == 1 for chunk in chunks))


class Runner:
    """One model in several wirings over the same weights and cache. `wirings` are tried in order; the last takes all.

    Raises whatever a kernel raises; a step may be run again, since it writes the same values to the same slots.
    """

    def __init__(self, wirings: Items[Wiring], cache: Cache, batcher: Batcher, sampler: Sampler) -> None:
        self.wirings, self.cache, self.batcher, self.sampler = wirings, cache, batcher, sampler

    @torch.inference_mode()
    def run(self, chunks: Items[Chunk]) -> list[Sampled | None]:
        """Compute the chunks; the result has a token for each chunk that samples, in order, and None for the others."""
        model = next(wiring.model for wiring in self.wirings if wiring.takes(chunks))
        step = self.batcher.step(chunks)
        hidden = model.forward(step)
        sampling = [i for i, chunk in enumerate(chunks) if chunk.samples]
        results: list[Sampled | None] = [None] * len(chunks)
        if sampling:
            rows = (
                (step.query_starts[1:].long() - 1)[sampling]
                if len(sampling) < len(chunks)
                else step.query_starts[1:] - 1
            )
            logits = model.logits(hidden, rows.long())
            for i, sampled in zip(sampling, self.sampler(logits, [chunks[i].sequence for i in sampling]), strict=True):
                results[i] = sampled
        return results

    @torch.inference_mode()
    def clear(self, pages: Items[int]) -> None:
        """Write zeros over pages that may hold numbers that are not finite: a mask does not stop those."""
        index = torch.tensor(pages, dtype=torch.int64, device=self.batcher.device)
        for keys, values in self.cache:
            keys[index] = 0
            values[index] = 0
