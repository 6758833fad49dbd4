"""Sequences that do not run: those that wait for room, and those that wait for a sibling."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from .sequence import Key, Sequence, State


class Waiting:
    """First come, first served, by priority: a queue in the order of rank. Falsy where nobody waits for room.

    Of the sequences of one request all but the first are held until it has computed their prompt.
    """

    def __init__(self) -> None:
        self._queue: list[Sequence] = []
        self._held: dict[Key, list[Sequence]] = {}
        self._priorities: set[int] = set()

    def __len__(self) -> int:
        """How many wait for room."""
        return len(self._queue)

    def __iter__(self) -> Iterator[Sequence]:
        """Those that wait for room, then those that are held."""
        yield from self._queue
        for held in self._held.values():
            yield from held

    @property
    def held(self) -> int:
        """How many wait for a sibling."""
        return sum(map(len, self._held.values()))

    @property
    def first(self) -> Sequence:
        """Who comes next."""
        return self._queue[0]

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the sequences of one new request."""
        first, *others = sequences
        self._priorities.add(first.request.priority)
        self.insert(first)
        for sequence in others:
            sequence.state = State.HELD
        if others:
            self._held[first.request.key] = others

    def insert(self, sequence: Sequence) -> None:
        """Let one wait for room."""
        sequence.state = State.WAITING
        insort(self._queue, sequence, key=rank)

    def remove(self, sequence: Sequence) -> None:
        """Take one out, wherever it waits."""
        if sequence.state is State.WAITING:
            self._queue.remove(sequence)
            return
        held = self._held[sequence.request.key]
        held.remove(sequence)
        if not held:
            del self._held[sequence.request.key]

    def holds(self, request: Key) -> bool:
        """Whether sequences of this request are held."""
        return request in self._held

    def release(self, request: Key) -> None:
        """Let those of this request that are held wait for room."""
        for sequence in self._held.pop(request, ()):
            self.insert(sequence)

    def promote(self, now: float, age: float) -> None:
        """Age bound: whoever has waited for longer goes before every priority."""
        if len(self._priorities) > 1:
            for sequence in self._queue:
                if now - sequence.arrived > age:
                    sequence.rank = (float("-inf"), *sequence.rank[1:])
            self._queue.sort(key=rank)


def rank(sequence: Sequence) -> tuple[float, int, int]:
    """What sequences are sorted by."""
    return sequence.rank
