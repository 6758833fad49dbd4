"""Launches of several tokens, which tell each of them while they run: the host reads what the device writes."""

from __future__ import annotations

import time

import numpy as np
import torch

from .sampled import Flight, Sampled
from .staging import PENDING, Pinned

NOTHING, UNSOUND = -2, -1  # what `decode_tokens` tells in place of a token
LOOK = 20e-6  # seconds between two looks
PATIENCE = 60.0  # a launch takes milliseconds, and each of its waits ends after seconds


class Talks:
    """Words that both sides see, each in use until its launch has told all."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._free: list[Pinned] = []

    def begin(self, count: int, lanes: int, rows: np.ndarray | None) -> Talk:
        """Make room for `count` tokens of so many lanes. `rows` are those that matter, in their order; None: all."""
        items = 1 + count * lanes
        fits = next((pinned for pinned in self._free if len(pinned.array) >= items), None)
        if fits is None:
            return Talk(self._free, Pinned(items, self._device), count, lanes, rows)
        self._free.remove(fits)
        return Talk(self._free, fits, count, lanes, rows)


class Talk(Flight):
    """Such a launch's flight: `told` [count, lanes] and `stopped` [1], int64, are what `decode_tokens` asks for."""

    def __init__(self, free: list[Pinned], pinned: Pinned, count: int, lanes: int, rows: np.ndarray | None) -> None:
        self._free, self._pinned, self._rows, self._at = free, pinned, rows, 0
        pinned.array[0], pinned.array[1 : 1 + count * lanes] = 0, PENDING
        self.stopped, self.told = pinned.tensor[:1], pinned.tensor[1 : 1 + count * lanes].view(count, lanes)
        self._words = self.told.numpy()
        self._until = time.monotonic() + PATIENCE

    def launched(self) -> None:
        """The device has been asked for it."""
        self._pinned.mark()
        self._until = time.monotonic() + PATIENCE  # of all its tokens: they come one after another

    def stop(self) -> None:
        """As the flight's."""
        self._pinned.array[0] = 1

    def result(self) -> Sampled:
        """The next token of each row, as soon as it is there. Raises what the device raises."""
        words = self._words[self._at]
        self._wait(words)
        told = words.copy() if self._rows is None else words[self._rows]
        self._at += 1
        if self._at == len(self._words):
            self._pinned.wait()  # whatever else the launch does to them
            self._free.append(self._pinned)
        if told.min() >= 0:
            return Sampled(told.tolist())
        unsound, undrawn = ((told == word).nonzero()[0].tolist() for word in (UNSOUND, NOTHING))
        return Sampled(told.tolist(), unsound, undrawn=undrawn)

    def _wait(self, words: np.ndarray) -> None:
        while words.min() == PENDING:
            over = self._pinned.over()
            if over and words.min() == PENDING:
                raise RuntimeError("a launch ended before it had told its tokens")
            if time.monotonic() > self._until:
                raise TimeoutError(f"the device has told nothing for {PATIENCE:.0f} s")
            time.sleep(LOOK)
