"""How long a call takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from .graph import Graph

Call = Callable[[], object]
CPU_SECONDS = 0.3  # spent on a call


def seconds(calls: Sequence[Call], device: torch.device, *, capturable: bool = True) -> float:
    """The time of one of the calls, run one after the other: the median of several rounds, the best on a CPU.

    On a GPU they are replayed as one graph, so that nothing but the device is measured, unless that cannot be.
    """
    if device.type != "cuda":
        return _on_cpu(calls)

    def run() -> None:
        for call in calls:
            call()

    once: Call = Graph(run) if capturable else run
    once()
    times = []
    for _ in range(9):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
        start.record()
        once()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(calls))
    return float(statistics.median(times))


def _on_cpu(calls: Sequence[Call]) -> float:
    # The best and not the median: what else runs on a machine can only add. Once at least, however long that takes.
    for call in calls:
        call()
    best, until = float("inf"), time.perf_counter() + CPU_SECONDS
    while best == float("inf") or time.perf_counter() < until:
        start = time.perf_counter()
        for call in calls:
            call()
        best = min(best, (time.perf_counter() - start) / len(calls))
    return best
