"""How long calls take on a GPU: recorded as graphs, which have no gaps between launches, and replayed in turns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)
Times = list[float]


@cache
def aside() -> torch.cuda.Stream:
    """Where graphs are recorded: always the same, since torch keeps scratch for each stream on which it multiplies."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def recorded(calls: Iterable[Callable[[], object]]) -> torch.cuda.CUDAGraph:
    """A graph of calls in order. The first of them runs before that, to load its kernels. Raises what it does."""
    first, *_ = listed = list(calls)
    stream = aside()
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        first()
        stream.synchronize()
        graph.capture_begin(capture_error_mode="thread_local")  # not `torch.cuda.graph`: that collects garbage
        try:
            for call in listed:
                call()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph


def raced(graphs: Mapping[K, torch.cuda.CUDAGraph], rounds: int) -> dict[K, Times]:
    """Microseconds of each graph, sorted. They take turns, so that what slows the card down for a while slows all."""
    times: dict[K, Times] = {key: [] for key in graphs}
    for _ in range(rounds):
        marks = [(key, clocked(graph)) for key, graph in graphs.items()]
        torch.cuda.synchronize()
        for key, (begin, end) in marks:
            times[key].append(begin.elapsed_time(end) * 1e3)
    return {key: sorted(took) for key, took in times.items()}


def clocked(graph: torch.cuda.CUDAGraph) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and behind a replay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
    begin.record()
    graph.replay()
    end.record()
    return begin, end
