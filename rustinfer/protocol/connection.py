"""A server's connection to an engine: a DEALER socket in asyncio, from its opening to its loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from .codec import MAX_FRAME
from .curve import WireKey

SILENT_MS = 2000
"""So long an engine's socket may give no sign of life: its process is stopped, or out of reach."""
_BURST_SECONDS = 0.004
"""How long frames are handled before other work on the loop gets a turn."""


class Connection:
    """One DEALER socket with its monitor, both read from the event loop; `lost` ends with the reason of its end."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        key: WireKey | None,
        hello: list[bytes],
        on_frames: Callable[[Connection, list[bytes]], None],
    ) -> None:
        self.epoch: int | None = None
        self.connected = False
        self._hello, self._on_frames = hello, on_frames
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        self._socket.setsockopt(zmq.SNDHWM, 16384)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits here for an engine that is not there
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENT_MS)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        if key is not None:
            key.show(self._socket)
        self._socket.connect(address)
        self._files = [cast("int", s.get(zmq.FD)) for s in (self._socket, self._monitor)]
        self._closed = self._looking = False
        for file in self._files:
            self._loop.add_reader(file, self.wake)

    def send(self, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        # The descriptor signals edges, and sending may swallow one.
        self._soon()
        return True

    def _soon(self) -> None:
        """Look again in the loop's next round: once, however many have sent, or each would take a burst of its own."""
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self.wake)

    def wake(self) -> None:
        """Read what there is. Called again by itself while there is more, so that other tasks get their turn."""
        self._looking = False
        if self._closed:
            return
        self._watch()
        end = time.monotonic() + _BURST_SECONDS
        while time.monotonic() < end:
            if self._closed or self.lost.done():
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._on_frames(self, frames)
        self._soon()

    def lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def close(self) -> None:
        self._closed = True
        for file in self._files:
            self._loop.remove_reader(file)
        self._socket.disable_monitor()
        self._socket.close(0)

    def _watch(self) -> None:
        while not self.lost.done():
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
            except zmq.Again:
                return
            if event == zmq.EVENT_DISCONNECTED:
                self.lose("the connection ended")
            elif not self.connected:
                self.connected = True
                self._greet()

    def _greet(self) -> None:
        # The handshake may be reported a moment before the socket takes anything.
        if not self._closed and not self.send(self._hello):
            self._loop.call_later(0.002, self._greet)
