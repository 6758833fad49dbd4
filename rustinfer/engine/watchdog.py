"""Ends an engine whose step hangs, in a kernel of a plugin's say, so that the supervisor can start another."""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Callable

HANG_SECONDS = 600.0
"""Longer than any step that still gets somewhere."""


class Watchdog:
    """A thread that looks at `progress` now and then. Where it stays the same for too long, the process shows where all
    its threads are and ends with exit code 1, even if the interpreter's lock is held.

    `progress` is None while the engine has nothing to do.
    """

    def __init__(self, progress: Callable[[], int | None], seconds: float | None = None) -> None:
        self._progress, self._seconds = progress, HANG_SECONDS if seconds is None else seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        seen: int | None = -1
        while True:
            now = self._progress()
            if now is None or now != seen:
                # The timer runs in a thread of C, which needs nothing of the interpreter.
                faulthandler.dump_traceback_later(self._seconds, exit=True)
            seen = now
            if self._stop.wait(self._seconds / 4):
                return
