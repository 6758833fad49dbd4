"""How many sequences may wait in the engine: known here, a flood is refused at once, not after the engine's step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .errors import bad_request, unavailable

BELIEVED_SECONDS = 0.5
"""So long a refusal of the engine's goes for others that ask for as much: it may have begun some that waited."""


class Room:
    """`waiting` are the sequences of this server of which the engine has told nothing yet: they wait, or have begun.

    As many may have begun as it runs at once. It decides: it has other servers, and sequences that it has set back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = 0
        self._clock = clock
        self._queue = self._most = math.inf
        self._refused, self._until = math.inf, 0.0

    def engine(self, most: int | None, running: int = 0) -> None:
        """Another engine is there, where so many may wait (None: any number) beside those that run."""
        self._queue = math.inf if most is None else most
        self._most, self._refused = self._queue + running, math.inf

    @property
    def share(self) -> int | None:
        """So many of one request's inputs wait at most, where others can follow as they end (None: all of them)."""
        return None if self._queue == math.inf else max(int(self._queue) // 2, 1)

    def check(self, sequences: int = 1) -> None:
        """Raises ApiError 503 where the engine has no room for so many more, and 400 where it never has."""
        if sequences > self._queue:
            raise bad_request(f"The request is for {sequences} sequences, and at most {self._queue} may wait at once.")
        wanted = self.waiting + sequences
        if wanted > self._most or (wanted >= self._refused and self._clock() < self._until):
            raise unavailable("Too many requests are waiting: try again later.", "overloaded")

    def refused(self, sequences: int) -> None:
        """The engine had none for these, which still count. That tells something where others wait, too."""
        now = self._clock()
        if self.waiting > sequences:
            self._refused = min(self._refused if now < self._until else math.inf, self.waiting)
            self._until = now + BELIEVED_SECONDS
