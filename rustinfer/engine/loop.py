"""The engine's main loop: read what servers want, run a step, send what it brought."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from ..heap import trim
from ..protocol.codec import ProtocolError
from ..protocol.messages import Abort, Aborted, Delta, Drain, Failed, Generate, Message, Output, Raised
from ..protocol.router import Gone, Peer, Received
from .bulletin import Bulletin, State, stats
from .engine import Engine
from .errors import RequestRefused
from .memory import Memory, measure
from .report import Report
from .sequence import Request, numbers

log = logging.getLogger("rustinfer.engine")
DRAIN_SECONDS = 30.0
TIDY_SECONDS = 10.0


class Channel(Protocol):
    """What the loop needs of `protocol.EngineChannel`."""

    errors: int
    epoch: int

    @property
    def peers(self) -> list[Peer]: ...

    def poll(self, timeout: float | None = 0.0) -> list[Received]: ...

    def send(self, peer: Peer, message: Message) -> bool: ...

    def broadcast(self, message: Message) -> None: ...


class _Wake(Exception):
    """A signal arrived while nothing else was going on."""


class EngineLoop:
    """Serves until told to stop; then finishes what it has, within bounds. Idle, it waits in poll and uses no CPU.

    The first SIGTERM or SIGINT drains, the second ends at once. A server that vanishes takes its requests along.
    """

    def __init__(
        self,
        engine: Engine,
        channel: Channel,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], Memory] = measure,
        raised: Callable[[], list[Raised]] = list,
    ) -> None:
        self.engine, self.channel, self._clock = engine, channel, clock
        self.report, self._raised = Report(clock), raised
        self._bulletin = Bulletin(self._state, clock, memory)
        self._signals = self._turns = 0
        self._waiting = False
        self._tidied = clock()

    @property
    def progress(self) -> int | None:
        """The number of the round that is under way; None while there is nothing to do."""
        return None if self._waiting else self._turns

    def run(self) -> None:
        """Until a signal, and then until drained. Raises EngineDead."""
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._signals:
                self.turn()
            self._drain()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def turn(self, wait: bool = True) -> None:
        """One round: messages, a step, its outputs. Waits for messages when there is nothing else to do."""
        self._turns += 1
        for received in self._poll(wait):
            self._handle(received)
        if self.engine.has_work:
            self._deliver(self.engine.step())
        if news := self._bulletin.news():
            self.channel.broadcast(news)
        self.report.maybe(self.engine)

    def _poll(self, wait: bool) -> list[Received]:
        if not wait or self.engine.has_work:
            return self.channel.poll(0.0)
        if received := self.engine.chores and self.channel.poll(0.0):
            return received
        if self.engine.do_chore():
            return []
        self._tidy()
        try:
            self._waiting = True
            # A signal from here on raises; one from before has set the count.
            return [] if self._signals else self.channel.poll(self._bulletin.patience())
        except _Wake:
            return []
        finally:
            self._waiting = False

    def _tidy(self) -> None:
        """There is nothing to do: give the system what is free, now and then."""
        if (now := self._clock()) - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            trim()

    def _handle(self, received: Received) -> None:
        peer, message = received.peer, received.message
        if isinstance(message, Gone):
            self.engine.disown(peer)
        elif isinstance(message, Abort):
            for name in message.ids:
                self.engine.abort((peer, name), message.index)
            self._send(peer, Aborted(message.ids))
        else:
            self._generate(peer, message)

    def _generate(self, peer: Peer, message: Generate) -> None:
        if self._signals:
            self._send(peer, Failed(message.id, "draining", "the engine is shutting down"))
            return
        try:
            m = message
            self.engine.add(
                Request(m.id, numbers(m.prompt_token_ids), m.sampling, m.priority, peer, m.salt, m.pool, m.together)
            )
        except RequestRefused as refusal:
            self.engine.measures.refused += 1
            self._send(peer, Failed(message.id, refusal.code, str(refusal)))
        except Exception:
            log.exception("request %s could not be taken", message.id)
            self._send(peer, Failed(message.id, "internal_error", "the engine could not take this request"))

    def _deliver(self, news: list[tuple[bytes, Output | Failed]]) -> None:
        outputs: dict[Peer, list[Output]] = {}
        for peer, item in news:
            if isinstance(item, Output):
                outputs.setdefault(peer, []).append(item)
            else:
                self._send(peer, item)
        for peer, batch in outputs.items():
            self._send(peer, Delta(self.channel.epoch, batch))

    def _send(self, peer: Peer, message: Message) -> None:
        """A server that is gone is reported by the next poll; a message that cannot be written harms nobody else."""
        try:
            self.channel.send(peer, message)
        except ProtocolError:
            log.exception("a message could not be written")

    def _state(self) -> State:
        return stats(self.engine, self.channel.epoch, self.channel.errors, self._raised()), frozenset(
            self.channel.peers
        )

    def _drain(self) -> None:
        """Finish what there is; take nothing new."""
        log.info("stopping: finishing %d sequences", len(self.engine.scheduler))
        self.channel.broadcast(Drain())
        deadline = self._clock() + DRAIN_SECONDS
        while self.engine.has_work and self._signals < 2 and self._clock() < deadline:
            self.turn(wait=False)
        if self.engine.has_work:
            log.warning("stopped with %d sequences unfinished", len(self.engine.scheduler))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._waiting:
            self._waiting = False
            raise _Wake
