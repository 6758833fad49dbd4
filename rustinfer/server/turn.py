"""Whose turn it is: of several servers that share a socket, one takes connections and the others stand by.

The one that holds a lock on a file. The kernel takes the lock away from a process that dies, however it dies, and
gives it to the next in the same instant.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from rustinfer.errors import UserError


class Turn:
    """Used from one event loop. Without a file it is always ours."""

    def __init__(self, file: str | Path | None = None) -> None:
        self._came = asyncio.Event()
        self._lock = -1
        if not file:
            self._came.set()
            return
        try:
            self._lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            raise UserError(f"--turn={file} cannot be opened: {e.strerror}") from None
        # A thread that may be left waiting when the process ends; those of the loop's pool would be waited for.
        threading.Thread(target=self._take, args=(asyncio.get_running_loop(),), daemon=True, name="turn").start()

    async def wait(self) -> None:
        """Return when it is our turn, or when we do not want it any more."""
        await self._came.wait()

    def stop_waiting(self) -> None:
        """Want no turn any more."""
        self._came.set()

    def give_up(self) -> None:
        """Let the next one take connections, for good. Idempotent."""
        if self._lock >= 0:
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock = -1

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(OSError, RuntimeError, ValueError):  # the file, the loop or our wish for it has gone: so have we
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            loop.call_soon_threadsafe(self._came.set)
