"""A server's end: a DEALER socket in asyncio that greets, keeps in touch, notices a lost engine and comes back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Protocol, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from .address import check
from .codec import MAX_FRAME, TO_SERVER, ProtocolError, decode, encode
from .curve import WireKey
from .messages import VERSION, Hello, Message, Ping, Pong, Welcome

log = logging.getLogger(__name__)

SILENT_MS = 2000
"""So long an engine's socket may give no sign of life: its process is stopped, or out of reach."""
_BURST_SECONDS = 0.004
"""How long frames are handled before other work on the loop gets a turn."""


class Listener(Protocol):
    """What a server does with the news. None of these may block or raise."""

    def engine_up(self, welcome: Welcome) -> None: ...

    def engine_down(self, reason: str) -> None: ...

    def received(self, message: Message) -> None: ...

    def dropped(self) -> None: ...


class ServerChannel:
    """Used from one event loop. `run` serves until cancelled; each loss of the engine is followed by a new greeting.

    A loss is: the connection ends, the heartbeats of the sockets stop (a stopped process), the engine's loop stays
    silent for `silence_seconds` (a hung one), or another epoch answers. Frames of another epoch are dropped by the
    listener, which knows the epoch from `engine_up`.
    """

    def __init__(
        self,
        address: str,
        listener: Listener,
        *,
        build: str,
        server: str,
        ping_seconds: float = 0.5,
        silence_seconds: float = 60.0,
        retry_seconds: float = 0.05,
        key: WireKey | None = None,
    ) -> None:
        check(address, key=key is not None)
        self.heard = 0.0
        """Monotonic time of the last frame from the engine's loop; 0 before the first."""
        self._address, self._key, self._listener = address, key, listener
        self._hello = encode(Hello(VERSION, build, server))
        self._ping_seconds, self._silence_seconds, self._retry_seconds = ping_seconds, silence_seconds, retry_seconds
        self._link: _Link | None = None

    @property
    def connected(self) -> bool:
        return self._link is not None and self._link.epoch is not None

    def send(self, message: Message) -> bool:
        """False where no engine is there to take it, or its queue is full. Raises ProtocolError like `encode`."""
        frames = encode(message)
        return self._link is not None and self._link.epoch is not None and self._link.send(frames)

    async def run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            while True:
                reason = await self._once(context)
                log.debug("engine link: %s", reason)
                await asyncio.sleep(self._retry_seconds)
        finally:
            context.destroy(linger=0)

    async def _once(self, context: zmq.Context[zmq.Socket[bytes]]) -> str:
        """One connection from greeting to loss; returns why it ended."""
        link = self._link = _Link(context, self._address, self._key, self._hello, self._on_frames)
        try:
            reason = await self._keep(link)
        finally:
            was_up, self._link = link.epoch is not None, None
            link.close()
            if was_up:
                self._listener.engine_down("the engine connection was lost")
        return reason

    async def _keep(self, link: _Link) -> str:
        self.heard = started = time.monotonic()
        for nonce in itertools.count(1):
            try:
                return await asyncio.wait_for(asyncio.shield(link.lost), self._ping_seconds)
            except TimeoutError:
                pass
            link.wake()
            now = time.monotonic()
            if link.connected and now - max(self.heard, started) > self._silence_seconds:
                return "the engine does not answer"
            link.send(encode(Ping(nonce)))
        raise AssertionError("count() has no end")

    def _on_frames(self, link: _Link, frames: list[bytes]) -> None:
        try:
            message = decode(frames, TO_SERVER)
        except ProtocolError as e:
            log.warning("dropped a frame of the engine: %s", e)
            self._listener.dropped()
            return
        self.heard = time.monotonic()
        if isinstance(message, Welcome):
            if link.epoch is None:
                link.epoch = message.epoch
                self._listener.engine_up(message)
        elif isinstance(message, Pong) and link.epoch not in (None, message.epoch):
            link.lose("another engine answers")
        elif link.epoch is not None:
            self._listener.received(message)


class _Link:
    """One DEALER socket with its monitor, both read from the event loop; `lost` ends with the reason of its end."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        key: WireKey | None,
        hello: list[bytes],
        on_frames: Callable[[_Link, list[bytes]], None],
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
