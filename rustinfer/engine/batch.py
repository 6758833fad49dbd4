"""A step of prompts, or of prompts and decoding sequences mixed, as tensors: one copy to the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..models import Step
from .lanes import Lanes
from .plan import Plan

SPARE = 32
"""Rows and sequences that padding may add to the largest step."""


class Shape(NamedTuple):
    """How many rows (tokens) and sequences a step has, padding included; `last`: only their last rows are asked for."""

    tokens: int
    sequences: int
    last: bool = False


@lru_cache(64)  # without graphs nearly every step has a shape of its own, and each takes a kilobyte
def parts(shape: Shape) -> list[slice]:
    """Where the parts of a batch lie in their buffer.

    tokens, positions, slots, feeds; starts; lengths, owners, picks, lanes, drawing.
    """
    ends = list(accumulate([shape.tokens] * 4 + [shape.sequences + 1] + [shape.sequences] * 5))
    return [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]


def items(tokens: int, sequences: int) -> int:
    """How many numbers the largest batch is."""
    most: int = parts(Shape(tokens + SPARE, sequences + SPARE))[-1].stop
    return most


@dataclass(frozen=True)
class Batch:
    """What the host knows of a step: the lanes `rows` of the sequences that sample, in order.

    Once it is launched, each of the lanes `moved` holds the token of the number in `drawn_at`, or none (-1).
    """

    rows: np.ndarray
    moved: np.ndarray
    drawn_at: np.ndarray


class Sampling(NamedTuple):
    """Of each sequence that samples its last row among the hidden states, its lane, and its token's number.

    int64 [S], at the beginning; the rest is padding, which names the lane that belongs to nobody.
    """

    picks: Tensor
    lanes: Tensor
    drawing: Tensor


class Batcher:
    """Makes steps with a handful of array operations however many sequences there are.

    Padding rows are not written to the cache; together they are one sequence, and those that are still missing are
    empty. All that a step reads lies in one buffer, the lanes', so that a graph can hold steps of one shape.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes

    def fill(self, plan: Plan, shape: Shape) -> Batch:
        """Send a plan, which may be empty, as a step of this shape.

        The newest token of a decoding sequence is the one it drew last.
        """
        lanes, decodes, chunks = self.lanes, plan.decodes, plan.chunks
        rows = np.array([q.row for q in decodes] + [c.sequence.row for c in chunks], np.int64)
        firsts = np.array([q.computed - 1 for q in decodes] + [c.start for c in chunks], np.int64)
        counts = np.array([1] * len(decodes) + [c.count for c in chunks], np.int64)
        samples = np.array([True] * len(decodes) + [c.samples for c in chunks], np.bool_)
        ends = counts.cumsum()
        total, size, sampled = int(counts.sum()), len(rows), int(samples.sum())
        places, to = parts(shape), lanes.next()
        tokens, positions, slots, feeds, starts, lengths, owners, picks, who, drawing = [to[place] for place in places]
        starts[0], starts[1 : size + 1], starts[size + 1 :] = 0, ends, shape.tokens
        lengths[:size], lengths[size:] = firsts + counts, 0
        lengths[size : size + 1] = shape.tokens - total
        owners[:size], owners[size:] = rows, 0
        positions[:total] = at = np.arange(total) + np.repeat(firsts - ends + counts, counts)
        slots[:total] = lanes.slots(np.repeat(rows, counts), at)
        tokens[total:], positions[total:], slots[total:], feeds[total:] = 0, 0, -1, -1
        self._fill_tokens(plan, tokens, feeds[:total], rows, ends.tolist())
        picks[:sampled] = samples.nonzero()[0] if shape.last else ends[samples] - 1
        who[:sampled] = rows[samples]
        drawing[:sampled] = (lengths[:size] - lanes.begins(rows))[samples]
        picks[sampled:], who[sampled:], drawing[sampled:] = 0, lanes.nobody, 0
        drawn_at = np.where(samples, lengths[:size], -1)
        lanes.send(places[-1].stop)
        return Batch(rows[samples], rows, drawn_at)

    def step(self, shape: Shape, width: int) -> Step:
        """What was sent last, as a step, with its pages. `width` of them hold the longest sequence."""
        self.lanes.tabulate()
        tokens, positions, slots, feeds, starts, lengths, owners, *_ = self._sent(shape)
        fed = tokens.where(feeds < 0, self.lanes.drawn[feeds.clamp(min=0)])
        pages = self.lanes.pages[:, :width].index_select(0, owners)
        last = starts[1:] - 1 if shape.last else None
        return Step(fed, positions, slots, starts.int(), lengths.int(), pages, last)

    def sampling(self, shape: Shape) -> Sampling:
        """What was sent last of the sequences that sample."""
        return Sampling(*self._sent(shape)[-3:])

    def _sent(self, shape: Shape) -> tuple[Tensor, ...]:
        return tuple(self.lanes.batch[place] for place in parts(shape))

    def _fill_tokens(
        self, plan: Plan, tokens: np.ndarray, feeds: np.ndarray, rows: np.ndarray, ends: list[int]
    ) -> None:
        decodes = len(plan.decodes)
        feeds[:decodes], feeds[decodes:] = rows[:decodes], -1
        for i in self.lanes.stale(plan, rows[:decodes]):
            sequence = plan.decodes[i]
            feeds[i], tokens[i] = -1, sequence.tokens[sequence.computed - 1]
        for chunk, end in zip(plan.chunks, ends[decodes:], strict=True):
            tokens[end - chunk.count : end] = chunk.tokens
