"""A server's end: it greets, keeps in touch, notices a lost engine and comes back, a connection after the other."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import Protocol

import zmq

from .address import check
from .codec import TO_SERVER, ProtocolError, decode, encode
from .connection import Connection
from .curve import WireKey
from .messages import VERSION, Hello, Message, Ping, Pong, Welcome

log = logging.getLogger(__name__)


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
        self._link: Connection | None = None

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
        link = self._link = Connection(context, self._address, self._key, self._hello, self._on_frames)
        try:
            reason = await self._keep(link)
        finally:
            was_up, self._link = link.epoch is not None, None
            link.close()
            if was_up:
                self._listener.engine_down("the engine connection was lost")
        return reason

    async def _keep(self, link: Connection) -> str:
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

    def _on_frames(self, link: Connection, frames: list[bytes]) -> None:
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
