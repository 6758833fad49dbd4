"""How long a call takes, and what the device does at its best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..graph import Graph

Call = Callable[[], object]
CPU_SECONDS = 0.3  # spent on a call


@dataclass(frozen=True)
class Roof:
    """Bytes per second of a large copy, both ways counted, and operations per second of a large product."""

    bandwidth: float
    rate: float

    def floor(self, nbytes: float, flops: float) -> float:
        """The seconds that so many bytes and operations take at least."""
        return max(nbytes / self.bandwidth, flops / self.rate)


def roof(device: torch.device, dtype: torch.dtype) -> Roof:
    """Measured here and now."""
    count, width = (1 << 29, 8192) if device.type == "cuda" else (1 << 25, 1024)
    source = torch.empty(count, dtype=torch.float32, device=device).normal_()
    target = torch.empty_like(source)
    a, b = (torch.empty(width, width, dtype=dtype, device=device).normal_() for _ in "ab")
    # By a kernel on a GPU: a copy in a graph goes to the copy engines, which reach two thirds of what kernels do.
    copy = (lambda: torch.add(source, 1, out=target)) if device.type == "cuda" else lambda: target.copy_(source)
    return Roof(2 * source.nbytes / seconds([copy], device), 2 * width**3 / seconds([lambda: a @ b], device))


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
    # The best and not the median: what else runs on a machine can only add.
    best, until = float("inf"), time.perf_counter() + CPU_SECONDS
    for call in calls:
        call()
    while time.perf_counter() < until:
        start = time.perf_counter()
        for call in calls:
            call()
        best = min(best, (time.perf_counter() - start) / len(calls))
    return best
