"""What a call has the device do, kernel by kernel, as torch's profiler sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Span(NamedTuple):
    """A kernel's run, in microseconds."""

    name: str
    start: float
    end: float


def profiled(call: Callable[[], object]) -> list[Span]:
    """What one call runs, in order."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if "CUDA" in str(event.device_type)]
    return sorted((Span(e.name, e.time_range.start, e.time_range.end) for e in events), key=lambda span: span.start)


def by_kernel(spans: list[Span], calls: int = 1) -> dict[str, dict[str, float]]:
    """Microseconds and runs a call, by kernel; what takes longest comes first."""
    found: dict[str, Any] = {}
    for name, start, end in spans:
        row = found.setdefault(name[:120], {"us": 0.0, "runs": 0})
        row["us"] += end - start
        row["runs"] += 1
    told = {name: {key: round(value / calls, 1) for key, value in row.items()} for name, row in found.items()}
    return dict(sorted(told.items(), key=lambda item: -item[1]["us"]))
