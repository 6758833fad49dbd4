"""How long calls take on a GPU: recorded as graphs, which have no gaps between launches, and replayed in turns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)


@cache
def aside() -> torch.cuda.Stream:
    """Where graphs are recorded: always the same, since torch keeps scratch for each stream on which it multiplies."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class Record:
    """A graph of calls in order; what they refer to stays. The first runs before that, and may raise."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self._graph, self._calls = torch.cuda.CUDAGraph(), calls
        aside().wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside()):
            calls[0]()
            aside().synchronize()
            self._graph.capture_begin(capture_error_mode="thread_local")  # `torch.cuda.graph` collects garbage first
            try:
                for call in calls:
                    call()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream().wait_stream(aside())

    def replay(self) -> None:
        """Run all."""
        self._graph.replay()


def raced(records: Mapping[K, Record], rounds: int) -> dict[K, list[float]]:
    """Microseconds of each, sorted. They take turns, so that what slows the card down for a while slows all."""
    times: dict[K, list[float]] = {key: [] for key in records}
    for _ in range(rounds):
        next(iter(records.values())).replay()  # else the first would be timed while the host makes it
        marks = [(key, clocked(record)) for key, record in records.items()]
        torch.cuda.synchronize()
        for key, (begin, end) in marks:
            times[key].append(begin.elapsed_time(end) * 1e3)
    return {key: sorted(took) for key, took in times.items()}


def clocked(record: Record) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and behind a replay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
    begin.record()
    record.replay()
    end.record()
    return begin, end
