"""How things stand in the engine, as servers are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..protocol.messages import Raised, Stats
from ..protocol.router import Peer
from .engine import Engine
from .memory import Memory

SECONDS = 1.0


State = tuple[Stats, frozenset[Peer]]
"""What there is to tell, memory left out, and to whom."""


class Bulletin:
    """Knows what was told last, and to whom: news goes out once a second at most, and where there is none, nothing."""

    def __init__(self, state: Callable[[], State], clock: Callable[[], float], memory: Callable[[], Memory]) -> None:
        self._state, self._clock, self._memory = state, clock, memory
        self._told: State | None = None
        self._next = 0.0

    def patience(self) -> float | None:
        """Seconds until something is to be told; None where everybody knows everything."""
        return max(self._next - self._clock(), 0.0) if self._is_new(self._state()) else None

    def news(self) -> Stats | None:
        """What is to be told now, if anything.

        Memory goes with the rest, and never alone because it changed: an engine that does nothing says nothing.
        """
        now = self._clock()
        if now < self._next or not self._is_new(state := self._state()):
            return None
        self._told, self._next, held = state, now + SECONDS, self._memory()
        return replace(
            state[0],
            memory_bytes=held.resident,
            device_memory_bytes=held.device,
            device_memory_used_bytes=held.device_used,
        )

    def _is_new(self, state: State) -> bool:
        return bool(state[1]) and self._told != state


def stats(engine: Engine, epoch: int, protocol_errors: int, raised: Sequence[Raised] = ()) -> Stats:
    """Every count and measure of an engine, memory left out, and the kernels that have raised."""
    measures, cache, waiting = engine.measures, engine.cache, engine.waiting
    return Stats(
        epoch=epoch,
        running=len(engine.scheduler.running),
        waiting=sum(waiting.values()),
        pages_total=cache.pool.total,
        pages_used=cache.pool.total - cache.available,
        preemptions=engine.scheduler.preemptions,
        protocol_errors=protocol_errors,
        waiting_reasons=waiting,
        refused=measures.refused,
        finished={str(reason): number for reason, number in measures.finished.items()},
        step_seconds=measures.step.histogram(),
        step_tokens=measures.step_tokens.histogram(),
        queue_seconds=measures.queue.histogram(),
        prefill_seconds=measures.prefill.histogram(),
        decode_seconds=measures.decode.histogram(),
        raised=list(raised),
        **vars(engine.totals),  # under the same names
    )
