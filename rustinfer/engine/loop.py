"""The engine's main loop: read what servers want, run a step, send what it brought."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Protocol

from ..protocol.codec import ProtocolError
from ..protocol.messages import Abort, Aborted, Delta, Drain, Failed, Generate, Message, Output, Stats
from ..protocol.router import Gone, Peer, Received
from .engine import Engine
from .errors import RequestRefused
from .memory import Memory, measure
from .report import Report
from .sequence import Request

log = logging.getLogger("rustinfer.engine")
STATS_SECONDS = 1.0
DRAIN_SECONDS = 30.0


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
    ) -> None:
        self.engine, self.channel, self._clock, self._memory = engine, channel, clock, memory
        self.report = Report(clock)
        self._told: tuple[Stats, frozenset[Peer]] | None = None
        self._next_stats = 0.0
        self._signals = self._turns = 0
        self._waiting = False

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
        self._tell()
        self.report.maybe(self.engine)

    def _poll(self, wait: bool) -> list[Received]:
        if not wait or self.engine.has_work:
            return self.channel.poll(0.0)
        try:
            self._waiting = True
            # A signal from here on raises; one from before has set the count.
            return [] if self._signals else self.channel.poll(self._patience())
        except _Wake:
            return []
        finally:
            self._waiting = False

    def _patience(self) -> float | None:
        """How long to wait when idle: for ever, unless servers are still to be told how things stand."""
        return None if self._up_to_date() else max(self._next_stats - self._clock(), 0.0)

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
            self.engine.add(Request(m.id, m.prompt_token_ids, m.sampling, m.priority, peer, m.salt, m.pool))
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

    def _tell(self) -> None:
        now = self._clock()
        if now >= self._next_stats and not self._up_to_date():
            self._told = self._state()
            self._next_stats = now + STATS_SECONDS
            self.channel.broadcast(self._with_memory(self._told[0]))

    def _with_memory(self, stats: Stats) -> Stats:
        """Memory goes with the rest, and never alone because it changed: an engine that does nothing says nothing."""
        held = self._memory()
        return replace(
            stats,
            memory_bytes=held.resident,
            device_memory_bytes=held.device,
            device_memory_used_bytes=held.device_used,
        )

    def _up_to_date(self) -> bool:
        state = self._state()
        return self._told == state or not state[1]

    def _state(self) -> tuple[Stats, frozenset[Peer]]:
        e, totals = self.engine, self.engine.totals
        waiting, measures = e.waiting, e.measures
        stats = Stats(
            epoch=self.channel.epoch,
            running=len(e.scheduler.running),
            waiting=sum(waiting.values()),
            pages_total=e.cache.pool.total,
            pages_used=e.cache.pool.total - e.cache.available,
            prompt_tokens=totals.prompt_tokens,
            cached_tokens=totals.cached_tokens,
            generated_tokens=totals.generated_tokens,
            preemptions=e.scheduler.preemptions,
            protocol_errors=self.channel.errors,
            waiting_reasons=waiting,
            computed_tokens=totals.computed_tokens,
            steps=totals.steps,
            refused=measures.refused,
            finished={str(reason): number for reason, number in measures.finished.items()},
            drafts=totals.drafts,
            draft_tokens=totals.draft_tokens,
            accepted_tokens=totals.accepted_tokens,
            step_seconds=measures.step.histogram(),
            step_tokens=measures.step_tokens.histogram(),
            queue_seconds=measures.queue.histogram(),
            prefill_seconds=measures.prefill.histogram(),
            decode_seconds=measures.decode.histogram(),
        )
        return stats, frozenset(self.channel.peers)

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
