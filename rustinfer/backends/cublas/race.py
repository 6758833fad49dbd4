"""How long calls take on a GPU: recorded as graphs, which have no gaps between launches, and replayed in turns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import torch

from ...graph import Graph

K = TypeVar("K", bound=Hashable)


class Record(Graph[None]):
    """A graph of calls in order; what they refer to stays."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        def run() -> None:
            for call in calls:
                call()

        super().__init__(run)
        self._calls = calls


def raced(records: Mapping[K, Record], rounds: int) -> dict[K, list[float]]:
    """Microseconds of each, sorted. They take turns, so that what slows the card down for a while slows all."""
    times: dict[K, list[float]] = {key: [] for key in records}
    for _ in range(rounds):
        next(iter(records.values()))()  # else the first would be timed while the host makes it
        marks = [(key, clocked(record)) for key, record in records.items()]
        torch.cuda.synchronize()
        for key, (begin, end) in marks:
            times[key].append(begin.elapsed_time(end) * 1e3)
    return {key: sorted(took) for key, took in times.items()}


def clocked(record: Record) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and behind a replay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
    begin.record()
    record()
    end.record()
    return begin, end
