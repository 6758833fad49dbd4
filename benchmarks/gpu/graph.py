"""Capturing calls in a CUDA graph, and timing them by events. Independent of the engine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]


class Graph:
    """A call recorded once and replayed; `result` is what the call returned, rewritten by each replay.

    The call runs `warm` times on a side stream before it is recorded, so that kernels are loaded and scratch exists.
    Whatever it reads must keep its address; what the call itself refers to is kept. Graphs that share a `pool` reuse
    each other's intermediate memory.
    """

    def __init__(self, call: Call, *, warm: int = 2, pool: tuple[int, int] | None = None) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(warm):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.result = call()
        self._kept = call

    def replay(self) -> None:
        """Run it again."""
        self.graph.replay()


def milliseconds(call: Call, *, repeat: int = 9, inner: int = 1) -> float:
    """The median over `repeat` of the time that `inner` calls take, divided by `inner`, after a warm-up."""
    call()
    times = []
    for _ in range(repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        start.record()
        for _ in range(inner):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / inner)
    return statistics.median(times)


def turns(graphs: Mapping[str, Graph], rounds: int, inner: int = 10, repeat: int = 3) -> dict[str, list[float]]:
    """`milliseconds` of each graph in each round, in turns."""
    times: dict[str, list[float]] = {label: [] for label in graphs}
    for _ in range(rounds):
        for label, graph in graphs.items():
            times[label].append(round(milliseconds(graph.replay, repeat=repeat, inner=inner), 4))
    return times


def replayed_ms(call: Call, *, repeat: int = 9, inner: int = 10) -> float:
    """`milliseconds` of the call's graph."""
    graph = Graph(call)
    return milliseconds(graph.replay, repeat=repeat, inner=inner)
