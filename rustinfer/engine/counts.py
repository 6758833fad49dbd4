"""How often each penalised sequence has seen each token: kept on the device, and brought up to date in place."""

from __future__ import annotations

from collections.abc import Sequence as Items
from itertools import count

import numpy as np
import torch
from torch import Tensor

from .sequence import Sequence, State
from .staging import moved

PROMPT = 1 << 30
"""What a count has on top for a token of the prompt: no output is as long."""


class Counts:
    """A lane of `table`, int32 [N, vocab] as `ops.penalize` reads it, for each penalised sequence that runs.

    A history is sent once, when its sequence gets a lane. After that a step adds the one token that was fed to it, and
    that need not be known on the host: neither work nor bytes grow with the history.
    """

    def __init__(self, vocab: int, device: torch.device) -> None:
        self.table = torch.zeros(0, vocab, dtype=torch.int32, device=device)
        self._lanes: dict[Sequence, int] = {}
        self._counted: dict[Sequence, int] = {}  # how many of its tokens a lane has
        self._fed: list[tuple[int, int]] = []
        self._where = self._to = torch.zeros(0, dtype=torch.int64, device=device)

    def lanes(self, sequences: Items[Sequence]) -> list[int]:
        """The lanes of these sequences, new ones still to be filled. Those of others that do not run come free."""
        wanted = set(sequences)
        for gone in [s for s in self._lanes if s not in wanted and s.state is not State.RUNNING]:
            del self._lanes[gone], self._counted[gone]
        taken = set(self._lanes.values())
        free = (lane for lane in count() if lane not in taken)
        for sequence in sequences:
            if sequence not in self._lanes:
                self._lanes[sequence], self._counted[sequence] = next(free), 0
        self._grow(max(self._lanes.values(), default=-1) + 1)
        return [self._lanes[sequence] for sequence in sequences]

    def follow(self, sequences: Items[Sequence], rows: Items[int], newest: Tensor | None) -> None:
        """Count all that the step being launched has been fed of these sequences.

        Of rows that decode, newest[row] is the newest token, int64: the host may not know it yet.
        """
        histories: list[np.ndarray] = []
        known: list[tuple[int, int, int]] = []
        fed: list[tuple[int, int]] = []
        for sequence, row in zip(sequences, rows, strict=True):
            start, stop, there = self._counted[sequence], sequence.computed, len(sequence.tokens)
            if start < sequence.prompt or start + 1 < min(stop, there):
                histories.append(self._history(sequence, start, stop))
            elif start < min(stop, there):
                known.append((self._lanes[sequence], sequence.tokens[start], 1))
            if stop > max(start, there):
                fed.append((row, self._lanes[sequence]))
        if known:
            histories.append(np.array(known).T)
        if histories:
            self._add(*moved(torch.from_numpy(np.concatenate(histories, 1)), self.table.device).unbind(0))
        if fed:
            assert newest is not None
            if fed != self._fed:
                self._fed = fed
                self._where, self._to = moved(torch.tensor(fed), self.table.device).unbind(1)
            self._add(self._to, newest[self._where], torch.ones_like(self._to))
        for sequence in sequences:
            self._counted[sequence] = max(self._counted[sequence], sequence.computed)

    def forget(self, sequences: Items[Sequence]) -> None:
        """Count these anew from their first token on."""
        self._counted.update((sequence, 0) for sequence in sequences if sequence in self._counted)
        self._fed = []

    def _history(self, sequence: Sequence, start: int, stop: int) -> np.ndarray:
        """What tokens [start, stop) add: int64 [3, N] of lanes, tokens and counts, no token twice."""
        if start == 0:
            self.table[self._lanes[sequence]].zero_()
        known = np.frombuffer(sequence.tokens, np.int64)[start:stop]
        prompt = np.unique(known[: max(sequence.prompt - start, 0)])
        output, times = np.unique(known[max(sequence.prompt - start, 0) :], return_counts=True)
        tokens = np.concatenate([prompt, output])
        worth = np.concatenate([np.full(len(prompt), PROMPT), times])
        return np.stack([np.full(len(tokens), self._lanes[sequence]), tokens, worth])

    def _add(self, lanes: Tensor, tokens: Tensor, worth: Tensor) -> None:
        self.table.view(-1).index_add_(0, lanes * self.table.shape[1] + tokens, worth.int())

    def _grow(self, lanes: int) -> None:
        if lanes > len(self.table):
            size = max(lanes, 2 * len(self.table)) - len(self.table)
            self.table = torch.cat([self.table, self.table.new_zeros(size, self.table.shape[1])])
