"""A step's plan as tensors, with a handful of array operations however many sequences there are."""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np
import torch

from ..models import Step
from .scheduler import Chunk


class Batcher:
    """Keeps the staging arrays and the table of every running sequence's pages, updated only where pages were added.

    The tensors of a Step on the CPU are views of the staging arrays: valid until the next call.
    """

    def __init__(self, tokens: int, sequences: int, pages: int, page_size: int, device: torch.device) -> None:
        self.page_size, self.device = page_size, device
        self._table = np.zeros((sequences, pages), np.int32)
        self._long = torch.zeros(3, tokens, dtype=torch.int64)
        self._tokens, self._positions, self._slots = self._long.numpy()
        self._short = torch.zeros(2, sequences + 1, dtype=torch.int32)
        self._starts, self._lengths = self._short.numpy()

    def step(self, chunks: Items[Chunk]) -> Step:
        """The tensors of one forward pass over these chunks, in their order."""
        size = len(chunks)
        rows = [self._tabled(chunk) for chunk in chunks]
        counts = np.array([chunk.count for chunk in chunks])
        ends = counts.cumsum()
        total = int(ends[-1])
        self._starts[1 : size + 1] = ends
        firsts = np.array([chunk.start for chunk in chunks])
        self._lengths[:size] = firsts + counts
        self._fill_tokens(chunks, ends)
        self._fill_places(np.array(rows), firsts, counts, ends)
        width = max(len(chunk.sequence.pages) for chunk in chunks)
        tokens, positions, slots = (self._move(t[:total]) for t in self._long)
        starts, lengths = self._short
        pages = torch.from_numpy(self._table[rows, :width])
        return Step(
            tokens, positions, slots, self._move(starts[: size + 1]), self._move(lengths[:size]), self._move(pages)
        )

    def _tabled(self, chunk: Chunk) -> int:
        """The sequence's row of the page table, brought up to date."""
        sequence = chunk.sequence
        if sequence.tabled != len(sequence.pages):
            self._table[sequence.row, sequence.tabled : len(sequence.pages)] = sequence.pages[sequence.tabled :]
            sequence.tabled = len(sequence.pages)
        return sequence.row

    def _fill_tokens(self, chunks: Items[Chunk], ends: np.ndarray) -> None:
        if ends[-1] == len(chunks):
            self._tokens[: len(chunks)] = [chunk.sequence.tokens[chunk.start] for chunk in chunks]
            return
        for chunk, end in zip(chunks, ends.tolist(), strict=True):
            known = chunk.sequence.tokens
            self._tokens[end - chunk.count : end] = known[chunk.start : chunk.start + chunk.count]

    def _fill_places(self, rows: np.ndarray, firsts: np.ndarray, counts: np.ndarray, ends: np.ndarray) -> None:
        total = ends[-1]
        positions = np.arange(total) + np.repeat(firsts - ends + counts, counts)
        self._positions[:total] = positions
        page, offset = np.divmod(positions, self.page_size)
        self._slots[:total] = self._table[np.repeat(rows, counts), page].astype(np.int64) * self.page_size + offset

    def _move(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device) if self.device.type != "cpu" else tensor
