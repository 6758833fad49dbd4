"""A step's plan as tensors, with a handful of array operations however many sequences there are."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np
import torch
from torch import Tensor

from ..models import Step
from .plan import Plan
from .sequence import Sequence


class Batcher:
    """Keeps the staging arrays, the table of every running sequence's pages, and the token that each drew last.

    Those tokens stay on the device, so that a step may be made before the host has seen the last one's. The tensors of
    a Step on the CPU are views of the staging arrays: valid until the next call.
    """

    def __init__(self, tokens: int, sequences: int, pages: int, page_size: int, device: torch.device) -> None:
        self.page_size, self.device = page_size, device
        self._table = np.zeros((sequences, pages), np.int32)
        self._widths = np.zeros(sequences, np.int64)
        self._long = torch.zeros(3, tokens, dtype=torch.int64)
        self._tokens, self._positions, self._slots = self._long.numpy()
        self._short = torch.zeros(2, sequences + 1, dtype=torch.int32)
        self._starts, self._lengths = self._short.numpy()
        self._drawn = torch.zeros(sequences, dtype=torch.int64, device=device)
        self._drawn_at = np.full(sequences, -1)
        self._decodes: list[Sequence] = []
        self._rows, self._at = (np.zeros(0, np.int64) for _ in "ab")

    def step(self, plan: Plan) -> Step:
        """The tensors of one forward pass."""
        self._tabulate(plan.touched)
        self._follow(plan.decodes)
        chunks = plan.chunks
        rows = np.concatenate((self._rows, [chunk.sequence.row for chunk in chunks]), dtype=np.int64, casting="unsafe")
        firsts = np.concatenate((self._at, [chunk.start for chunk in chunks]), dtype=np.int64, casting="unsafe")
        counts = np.ones(len(rows), np.int64)
        counts[len(plan.decodes) :] = [chunk.count for chunk in chunks]
        ends = counts.cumsum()
        total, size = int(ends[-1]), len(rows)
        self._starts[1 : size + 1] = ends
        self._lengths[:size] = firsts + counts
        self._fill_tokens(plan, ends)
        self._fill_places(rows, firsts, counts, ends)
        tokens, positions, slots = (self._move(t[:total]) for t in self._long)
        self._feed(tokens, plan.decodes)
        starts, lengths = self._short
        pages = self._move(torch.from_numpy(self._table[rows, : self._widths[rows].max()]))
        self._rows_of_step, self._ends_of_step = rows, firsts + counts
        return Step(tokens, positions, slots, self._move(starts[: size + 1]), self._move(lengths[:size]), pages)

    def drew(self, plan: Plan, tokens: Tensor) -> None:
        """Keep what the rows of the plan's step that sample have drawn, int64 [R], for the next step."""
        rows, ends = self._rows_of_step, self._ends_of_step
        sampling = [True] * len(plan.decodes) + [chunk.samples for chunk in plan.chunks]
        self._drawn_at[rows] = np.where(sampling, ends, -1)
        self._drawn[self._move(torch.from_numpy(rows[sampling]))] = tokens

    def _tabulate(self, touched: Items[Sequence]) -> None:
        """Bring the page table up to date."""
        for sequence in touched:
            row, start, stop = sequence.row, sequence.tabled, len(sequence.pages)
            if row >= 0:
                self._table[row, start:stop] = sequence.pages[start:]
                self._widths[row] = sequence.tabled = stop

    def _follow(self, decodes: list[Sequence]) -> None:
        """Rows and positions of the sequences that decode: one further where they are the same as before."""
        if decodes is self._decodes:
            self._at += 1
            return
        self._decodes = decodes
        self._rows = np.array([sequence.row for sequence in decodes], np.int64)
        self._at = np.array([sequence.computed - 1 for sequence in decodes], np.int64)

    def _feed(self, tokens: Tensor, decodes: list[Sequence]) -> None:
        """Each decoding sequence's newest token: as drawn, or from the host where it was not drawn by a step."""
        if not decodes:
            return
        fed = self._drawn[self._move(torch.from_numpy(self._rows))]
        for i in (self._drawn_at[self._rows] != self._at).nonzero()[0].tolist():
            fed[i] = decodes[i].tokens[decodes[i].computed - 1]
        tokens[: len(decodes)] = fed

    def _fill_tokens(self, plan: Plan, ends: np.ndarray) -> None:
        for chunk, end in zip(plan.chunks, ends[len(plan.decodes) :].tolist(), strict=True):
            self._tokens[end - chunk.count : end] = chunk.sequence.tokens[chunk.start : chunk.start + chunk.count]

    def _fill_places(self, rows: np.ndarray, firsts: np.ndarray, counts: np.ndarray, ends: np.ndarray) -> None:
        total = ends[-1]
        positions = np.arange(total) + np.repeat(firsts - ends + counts, counts)
        self._positions[:total] = positions
        page, offset = np.divmod(positions, self.page_size)
        self._slots[:total] = self._table[np.repeat(rows, counts), page].astype(np.int64) * self.page_size + offset

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device) if self.device.type != "cpu" else tensor
