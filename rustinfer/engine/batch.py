"""A step of prompts, or of prompts and decoding sequences mixed, as tensors: one copy to the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..models import Step
from .lanes import Lanes
from .plan import Plan

Place = Callable[..., tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]]
SPARE = 32
"""Rows and sequences that padding may add to the largest step."""
NUMBERS = 6
"""Of each sequence where its rows end, its first position and its lane; of each that samples, what `Sampling` has."""


class Shape(NamedTuple):
    """How many rows (tokens) and sequences a step has, padding included; `last`: only their last rows are asked for."""

    tokens: int
    sequences: int
    last: bool = False


class Parts(NamedTuple):
    """Where the parts of a batch lie in their buffer: a number for each row, and NUMBERS for each sequence."""

    tokens: slice
    sequences: slice

    @classmethod
    def of(cls, shape: Shape) -> Parts:
        end = shape.tokens + NUMBERS * shape.sequences
        return cls(slice(0, shape.tokens), slice(shape.tokens, end))


def items(tokens: int, sequences: int) -> int:
    """How many numbers the largest batch is."""
    most: int = Parts.of(Shape(tokens + SPARE, sequences + SPARE)).sequences.stop
    return most


@dataclass(slots=True)
class Batch:
    """What the host knows of a step: the lanes `rows` of the sequences that sample, in order.

    Once it is launched, each of the lanes `moved` holds the token of the number in `drawn_at`, or none (-1).
    """

    rows: list[int]
    moved: list[int]
    drawn_at: list[int]


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
    empty. All that a step reads lies in one buffer, the lanes', so that a graph can hold steps of one shape. What the
    device can make of that by itself, `place` makes: the op `place_rows`, for the lanes' pages.
    """

    def __init__(self, lanes: Lanes, place: Place) -> None:
        self.lanes, self.place = lanes, place
        self._padding = np.array([[0], [-1], [0], [0], [lanes.nobody], [0]])  # the first is how many rows there are

    def fill(self, plan: Plan, shape: Shape, inside: bool = False) -> Batch:
        """Send a plan, which may be empty, as a step of this shape; `inside`: a graph takes it, which holds `take`.

        The newest token of a decoding sequence is the one it drew last.
        """
        spans = [(q, q.computed - 1, 1, True) for q in plan.decodes]
        spans += [(c.sequence, c.start, c.count, c.samples) for c in plan.chunks]
        batch, end = Batch([], [], []), 0
        placed: list[int] = []
        sampled: list[int] = []
        for number, (q, first, count, samples) in enumerate(spans):
            end, length, row = end + count, first + count, q.row
            placed += (end, first, row)
            batch.moved.append(row)
            batch.drawn_at.append(length if samples else -1)
            if samples:
                sampled += (number if shape.last else end - 1, row, length - q.prompt)
                batch.rows.append(row)
        lanes, parts, to = self.lanes, Parts.of(shape), self.lanes.next(inside)
        told = to[parts.sequences].reshape(NUMBERS, shape.sequences)
        self._padding[0] = shape.tokens
        told[:] = self._padding
        told[:3, : len(spans)] = np.array(placed, np.int64).reshape(-1, 3).T
        told[3:, : len(batch.rows)] = np.array(sampled, np.int64).reshape(-1, 3).T
        self._fill_tokens(plan, to[parts.tokens])
        lanes.send(parts.sequences.stop, inside)
        return batch

    def take(self, shape: Shape) -> None:
        """Take what was filled for a graph of this shape."""
        self.lanes.take(Parts.of(shape).sequences.stop)

    def step(self, shape: Shape, width: int) -> Step:
        """What was sent last, as a step, with its pages. `width` of them hold the longest sequence."""
        lanes = self.lanes
        lanes.tabulate()
        ends, firsts, owners, *_ = self._sequences(shape)
        placed = self.place(lanes.batch[: shape.tokens], ends, firsts, owners, lanes.drawn, lanes.pages[:, :width])
        return Step(*placed, ends - 1 if shape.last else None)

    def sampling(self, shape: Shape) -> Sampling:
        """What was sent last of the sequences that sample."""
        return Sampling(*self._sequences(shape)[3:])

    def _sequences(self, shape: Shape) -> Tensor:
        return self.lanes.batch[Parts.of(shape).sequences].view(NUMBERS, shape.sequences)

    def _fill_tokens(self, plan: Plan, tokens: np.ndarray) -> None:
        if end := len(plan.decodes):
            rows = np.array([sequence.row for sequence in plan.decodes], np.int64)
            tokens[:end] = -1 - rows  # as the device has drawn them
            for i in self.lanes.stale(plan, rows):
                sequence = plan.decodes[i]
                tokens[i] = sequence.tokens[sequence.computed - 1]
        for chunk in plan.chunks:
            tokens[end : end + chunk.count] = chunk.tokens
            end += chunk.count
        tokens[end:] = 0
