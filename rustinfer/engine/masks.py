"""A sequence's place in its grammar, moved on in another thread: whoever is beside it never waits for a mask."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, wait

import numpy as np

from .grammar import Matcher
from .sequence import Sequence

PATIENCE = 0.001
"""Seconds that a step waits for the masks that it needs: next to always they were made while the model was running."""


class Masks:
    """The mask of the next token, made from the moment on when the last one is known.

    A step that finds it `late` leaves the row out, and the row is in none until it is `ready`. llguidance lets other
    threads run while it works; places of one grammar wait for each other, and so even a short task may take long.
    """

    def __init__(self, place: Matcher, threads: Executor, vocab: int) -> None:
        self._place, self._threads, self._words = place, threads, -(-vocab // 32)
        self.late = False
        self.mask = threads.submit(self._make)
        """A bit for each token, int32 [W]; None where the grammar gives up, or costs too much."""

    @property
    def ready(self) -> bool:
        """Whether the next step is worth a try."""
        return not self.late or self.mask.done()

    def take(self, token: int) -> None:
        """Go on by one token. One that does not fit has no mask after it."""
        self.mask = self._threads.submit(self._make, token)

    def _make(self, token: int | None = None) -> np.ndarray | None:
        if token is not None and not self._place.take(token):
            return None
        bits = np.zeros(self._words, np.int32)
        return bits if self._place.fill(bits) else None


def late(places: Iterable[Masks]) -> list[bool]:
    """Which places have no mask yet, after a moment of patience for all of them."""
    places = list(places)
    if not all(place.mask.done() for place in places):
        wait([place.mask for place in places], PATIENCE)
    for place in places:
        place.late = not place.mask.done()
    return [place.late for place in places]


def await_one(sequences: Iterable[Sequence], seconds: float) -> None:
    """Wait for a mask of those that are late, if any is."""
    if masks := [q.matcher.mask for q in sequences if q.matcher is not None and not q.matcher.ready]:
        wait(masks, seconds, FIRST_COMPLETED)
