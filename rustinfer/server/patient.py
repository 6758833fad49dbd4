"""A transport that ends a connection without losing its last answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LINGER_SECONDS = 2.0
"""For what a client still sends that has been answered already."""


class PatientTransport:
    """Closes at once, unless the client is `sending`: closing then makes the system reset the connection.

    A reset takes our answer away from a client that has not read it yet. So we say that nothing more comes, throw away
    what arrives, and close when the client does, or after a while. Everything else is the transport's.
    """

    def __init__(self, inner: asyncio.Transport, sending: Callable[[], bool]) -> None:
        self._inner, self._sending = inner, sending
        self.lingering = False
        self.write = inner.write  # by far the most frequent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def is_closing(self) -> bool:
        return self.lingering or self._inner.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not (self._sending() and self._inner.can_write_eof()):
            self._inner.close()
            return
        self.lingering = True
        self._inner.write_eof()
        with suppress(RuntimeError):  # it may not have been paused
            self._inner.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._inner.close)
