"""A step of prompts, or of prompts and decoding sequences mixed, as tensors: one copy to the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models import Step
from .lanes import Lanes
from .plan import Plan
from .staging import Staging


@dataclass(frozen=True)
class Batch:
    """A step on the device, and what becomes of its rows.

    For each of the K sequences that sample: `picks`, its last row in the step, `lanes`, its row in `Lanes`, and
    `drawing`, the number of the token that it draws; all int64 [K]. `rows` are the same lanes on the host. Once the
    step is launched, each of the lanes `moved` holds the token of the number in `drawn_at`, or none (-1).
    """

    step: Step
    picks: Tensor
    lanes: Tensor
    drawing: Tensor
    rows: np.ndarray
    moved: np.ndarray
    drawn_at: np.ndarray


class Batcher:
    """Makes steps with a handful of array operations however many sequences there are."""

    def __init__(self, tokens: int, sequences: int, lanes: Lanes) -> None:
        self.lanes = lanes
        self._staging = Staging(4 * tokens + 5 * sequences + 1, lanes.device)

    def batch(self, plan: Plan) -> Batch:
        """The tensors of one forward pass. The newest token of a decoding sequence is the one it drew last."""
        lanes, decodes, chunks = self.lanes, plan.decodes, plan.chunks
        rows = np.array([q.row for q in decodes] + [c.sequence.row for c in chunks])
        firsts = np.array([q.computed - 1 for q in decodes] + [c.start for c in chunks])
        counts = np.array([1] * len(decodes) + [c.count for c in chunks])
        samples = np.array([True] * len(decodes) + [c.samples for c in chunks])
        ends = counts.cumsum()
        total, size = int(ends[-1]), len(rows)
        tokens, positions, slots, feeds, starts, lengths, owners, picks, drawing = self._parts(total, size)
        starts[0], starts[1:] = 0, ends
        lengths[:], owners[:] = firsts + counts, rows
        positions[:] = np.arange(total) + np.repeat(firsts - ends + counts, counts)
        page, offset = np.divmod(positions, lanes.page_size)
        slots[:] = lanes.table[np.repeat(rows, counts), page].astype(np.int64) * lanes.page_size + offset
        self._fill_tokens(plan, tokens, feeds, rows, ends.tolist())
        sampled = int(samples.sum())
        picks[:sampled], drawing[:sampled] = ends[samples] - 1, (lengths - lanes.begins(rows))[samples]
        self._staging.send(4 * total + 5 * size + 1)
        return self._on_device(total, size, rows, samples, np.where(samples, lengths, -1))

    def _on_device(self, total: int, size: int, rows: np.ndarray, samples: np.ndarray, drawn_at: np.ndarray) -> Batch:
        lanes = self.lanes
        sizes = [total] * 4 + [size + 1] + [size] * 4
        sent = self._staging.buffer[: sum(sizes)].split(sizes)  # type: ignore[no-untyped-call]
        tokens, positions, slots, feeds, starts, lengths, owners, picks, drawing = sent
        fed = tokens.where(feeds < 0, lanes.drawn[feeds.clamp(min=0)])
        width = int(lanes.widths[rows].max())
        pages = lanes.pages[:, :width].index_select(0, owners)
        step = Step(fed, positions, slots, starts.int(), lengths.int(), pages)
        sampled = int(samples.sum())
        who = owners if sampled == size else owners[torch.from_numpy(samples.nonzero()[0]).to(owners.device)]
        return Batch(step, picks[:sampled], who, drawing[:sampled], rows[samples], rows, drawn_at)

    def _parts(self, total: int, size: int) -> list[np.ndarray]:
        cuts = np.cumsum([total] * 4 + [size + 1] + [size] * 4)
        return np.split(self._staging.next()[: cuts[-1]], cuts[:-1])

    def _fill_tokens(
        self, plan: Plan, tokens: np.ndarray, feeds: np.ndarray, rows: np.ndarray, ends: list[int]
    ) -> None:
        decodes = len(plan.decodes)
        feeds[:decodes], feeds[decodes:] = rows[:decodes], -1
        for i in self.lanes.stale(plan.decodes, rows[:decodes]):
            sequence = plan.decodes[i]
            feeds[i], tokens[i] = -1, sequence.tokens[sequence.computed - 1]
        for chunk, end in zip(plan.chunks, ends[decodes:], strict=True):
            tokens[end - chunk.count : end] = chunk.sequence.tokens[chunk.start : chunk.start + chunk.count]
