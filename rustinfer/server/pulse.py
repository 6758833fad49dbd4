"""The clock of one stream: wakes it when it has had nothing to say for long, ends it when its client takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST_SECONDS = 5.0
"""How long the status line waits for the engine's first word, so that its refusal is a plain 4xx or 5xx."""
KEEP_ALIVE_SECONDS = 15.0
STALL_SECONDS = 60.0
"""A client that takes nothing for so long is given up."""
TICK_SECONDS = 0.5


class Pulse:
    """One slow timer for a whole stream; what the stream does meanwhile is said by two assignments."""

    def __init__(self, on_silence: Callable[[], None], on_stall: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_silence, self._on_stall = on_silence, on_stall
        self.waiting(FIRST_SECONDS)
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def waiting(self, seconds: float = KEEP_ALIVE_SECONDS) -> None:
        """From now on the stream waits for the engine."""
        self._due, self._act = self._loop.time() + seconds, self._on_silence

    def sending(self) -> None:
        """From now on the stream waits for its client."""
        self._due, self._act = self._loop.time() + STALL_SECONDS, self._on_stall

    def close(self) -> None:
        """Do nothing more."""
        self._timer.cancel()

    def _tick(self) -> None:
        if self._loop.time() >= self._due:
            self._due = float("inf")
            self._act()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
