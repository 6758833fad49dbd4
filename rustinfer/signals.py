"""Signals as news to be read, so that none interrupts what is being done, such as the start of a process."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterable
from types import FrameType
from typing import Self


class Signals:
    """The numbers of signals in the order in which they came. For the main thread; once left, they act as before."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._woke = signal.set_wakeup_fd(self._writer.fileno())
        self._before = {number: signal.signal(number, _nothing) for number in numbers}

    def wait(self, seconds: float | None) -> bytes:
        """Those that came, at once or within so many seconds; each byte is a number."""
        readable, _, _ = select.select([self._reader], [], [], seconds)
        return self._reader.recv(64) if readable else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woke)
        self._reader.close()
        self._writer.close()


def _nothing(number: int, frame: FrameType | None) -> None:
    """The system writes the number down as long as Python has a handler for it."""
