"""The engine's end: a ROUTER socket for a plain loop. Greeting, heartbeats and vanished servers are dealt with here."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from rustinfer.errors import UserError

from .address import check, claim, socket_path
from .bans import TOLERATED, Bans
from .codec import MAX_FRAME, TO_ENGINE, ProtocolError, decode, encode
from .curve import WireKey
from .messages import VERSION, Abort, Generate, Hello, Message, ModelCard, Ping, Pong, Welcome

log = logging.getLogger(__name__)
Peer = bytes
"""A connected server: made up by the socket at each connection, so it can be neither guessed nor taken over."""

NOBODYS = 0
"""No engine's epoch: a server that is told of it greets again."""
_QUEUE = 1024  # frames waiting for one server before it counts as gone
_BURST = 1024  # frames read before the engine gets to work again


@dataclass(frozen=True)
class Gone:
    """A server vanished or stopped reading: whatever it asked for has no reader any more."""


@dataclass(frozen=True)
class Received:
    peer: Peer
    message: Generate | Abort | Gone


class EngineChannel:
    """Binds `address`, which needs a `key` if it is TCP. Not thread-safe: one loop calls everything.

    Call `poll` once per step, with timeout 0 while there is work and None when idle. Frames that are no message are
    counted in `errors` and dropped; a connection that sends many of them is not heard any more (`Bans`). `send` says
    whether the server is still there.
    """

    def __init__(
        self,
        address: str,
        card: ModelCard,
        *,
        epoch: int,
        build: str,
        fingerprint: str,
        probe_seconds: float = 0.5,
        lease_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        key: WireKey | None = None,
    ) -> None:
        check(address, key=key is not None)
        self.errors = 0
        self.epoch = epoch
        self._welcome = encode(Welcome(VERSION, build, epoch, fingerprint, card))
        self._heard: dict[Peer, float] = {}
        self._gone: list[Peer] = []
        self._bans = Bans()
        self._clock, self._probe_seconds, self._lease_seconds = clock, probe_seconds, lease_seconds
        self._probed = clock()
        self._lock = None if key else claim(address)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
        self._guard = key.guard(self._context, self._socket) if key else None
        self._bind(address)

    @property
    def peers(self) -> list[Peer]:
        return list(self._heard)

    def poll(self, timeout: float | None = 0.0) -> list[Received]:
        """What arrived, waiting up to `timeout` seconds (None: for ever) for the first frame, any frame, to arrive."""
        ready = self._socket.poll(None if timeout is None else round(timeout * 1000))
        received = self._drain() if ready else []
        self._probe()
        gone, self._gone = self._gone, []
        return received + [Received(peer, Gone()) for peer in gone]

    def send(self, peer: Peer, message: Message) -> bool:
        """False where the server has vanished or does not read; the next poll reports it as Gone."""
        return self._send(peer, encode(message))

    def broadcast(self, message: Message) -> None:
        frames = encode(message)
        for peer in self.peers:
            self._send(peer, frames)

    def close(self) -> None:
        if self._guard is not None:
            self._guard.stop()
        self._context.destroy(linger=200)
        if self._lock is not None:
            os.close(self._lock)

    def _bind(self, address: str) -> None:
        try:
            self._socket.bind(address)
        except zmq.ZMQError as e:
            self.close()
            raise UserError(f"the engine cannot listen at {address}: {e.strerror}") from None
        if self._lock is not None:
            socket_path(address).chmod(0o600)

    def _drain(self) -> list[Received]:
        received = []
        for _ in range(_BURST):
            try:
                peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if peer in self._bans:
                self.errors += 1
                continue
            try:
                message = self._handle(peer, decode(frames, TO_ENGINE))
            except ProtocolError as e:
                self._offend(peer, e)
                continue
            if message is not None:
                received.append(Received(peer, message))
        return received

    def _offend(self, peer: Peer, error: ProtocolError) -> None:
        self.errors += 1
        if self._bans.add(peer):
            log.warning(
                "a connection is not heard any more: %d of its frames were no message, lately %s", TOLERATED, error
            )
            self._lose(peer)

    def _handle(self, peer: Peer, message: Message) -> Generate | Abort | None:
        if isinstance(message, Hello):
            self._heard[peer] = self._clock()
            self._send(peer, self._welcome)
            return None
        if isinstance(message, Ping):
            # Answered for strangers too: the epoch tells a server of an earlier engine that it must greet again.
            self._send(peer, encode(Pong(message.nonce, self.epoch if self._hear(peer) else NOBODYS)))
            return None
        if not isinstance(message, (Generate, Abort)):
            raise ProtocolError("a message for servers")
        if not self._hear(peer):
            # No offence: it was given up, silent or slow as it was, and does not know.
            self.errors += 1
            self._send(peer, encode(Pong(0, NOBODYS)))
            return None
        return message

    def _hear(self, peer: Peer) -> bool:
        """Whether the peer has greeted and was not given up since; its lease begins anew."""
        if peer not in self._heard:
            return False
        self._heard[peer] = self._clock()
        return True

    def _send(self, peer: Peer, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart([peer, *frames], zmq.NOBLOCK)
        except (zmq.Again, zmq.ZMQError) as e:
            if e.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._lose(peer)
            return False
        return True

    def _lose(self, peer: Peer) -> None:
        if self._heard.pop(peer, None) is not None:
            self._gone.append(peer)

    def _probe(self) -> None:
        """Find servers that vanished while nothing was sent to them. Runs after a drain: a long step harms nobody."""
        now = self._clock()
        if now - self._probed < self._probe_seconds:
            return
        self._probed = now
        probe = encode(Pong(0, self.epoch))
        for peer, heard in list(self._heard.items()):
            if now - heard > self._lease_seconds:
                self._lose(peer)
            else:
                self._send(peer, probe)
