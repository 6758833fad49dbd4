"""Sends a load to a server and takes the times. A thread for each request in flight; nothing here imports torch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from .client import Client
from .workload import Ask


@dataclass(frozen=True)
class Trace:
    """One request: seconds to its first token and to its last, its tokens, and its error if it failed."""

    first: float
    last: float
    prompt: int
    cached: int
    made: int
    error: str | None = None

    @property
    def each(self) -> float:
        """Seconds between tokens."""
        return (self.last - self.first) / (self.made - 1) if self.made > 1 else 0.0


@dataclass(frozen=True)
class Load:
    """All requests of a run, and the seconds from the first sent to the last token."""

    traces: Sequence[Trace]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Rates, and percentiles in milliseconds, of the requests that did not fail."""
        good = [trace for trace in self.traces if trace.error is None]
        made = sum(trace.made for trace in good)
        return {
            "requests": len(self.traces),
            "failed": len(self.traces) - len(good),
            "seconds": self.seconds,
            "requests_per_second": len(good) / self.seconds,
            "output_tokens_per_second": made / self.seconds,
            "prompt_tokens": sum(trace.prompt for trace in good),
            "cached_tokens": sum(trace.cached for trace in good),
            "output_tokens": made,
            "first_token_ms": percentiles([trace.first for trace in good]),
            "between_tokens_ms": percentiles([trace.each for trace in good if trace.made > 1]),
            "whole_request_ms": percentiles([trace.last for trace in good]),
        }


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """The middle, the 90th and the 99th in a hundred, in milliseconds; None of nothing."""
    if not seconds:
        return {"p50": None, "p90": None, "p99": None}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else list(seconds) * 99
    return {"p50": cuts[49] * 1e3, "p90": cuts[89] * 1e3, "p99": cuts[98] * 1e3}


Send = Callable[[Ask], Trace]


def sender(client: Client, model: str, extra: Mapping[str, Any] | None = None) -> Send:
    """Sends one request as a streamed, greedy completion that does not end early where the server can be told so.

    `extra` are more fields of every request.
    """
    common: dict[str, Any] = {
        "model": model,
        "temperature": 0,
        "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }
    common |= extra or {}

    def send(ask: Ask) -> Trace:
        start, first, last, pieces = time.perf_counter(), 0.0, 0.0, 0
        usage: dict[str, Any] = {}
        try:
            body = {**common, "prompt": ask.prompt, "max_tokens": ask.tokens}
            for at, event in client.timed("/v1/completions", body):
                if event.get("choices"):
                    last = at
                    first = first or last
                    pieces += bool(event["choices"][0].get("text"))
                usage = event.get("usage") or usage
        except UserError as error:
            return Trace(first, time.perf_counter() - start, 0, 0, 0, str(error))
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Trace(first, last, usage.get("prompt_tokens", 0), cached, usage.get("completion_tokens", pieces))

    return send


def in_turn(send: Send, load: Sequence[Ask], clients: int) -> Load:
    """So many clients, each of which sends its next request when its last one is answered."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        traces = list(pool.map(send, load))
    return Load(traces, time.perf_counter() - start)


def on_time(send: Send, load: Sequence[Ask], times: Sequence[float]) -> Load:
    """Each request at its time, however many are still unanswered."""
    start = time.perf_counter()

    def due(ask: Ask, at: float) -> Trace:
        time.sleep(max(at - (time.perf_counter() - start), 0.0))
        return send(ask)

    with ThreadPoolExecutor(max(len(load), 1)) as pool:
        traces = list(pool.map(due, load, times))
    return Load(traces, time.perf_counter() - start)
