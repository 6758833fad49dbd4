"""What Prometheus reads at /metrics. The names are published: dashboards break when one goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rustinfer.protocol.messages import ModelCard, Stats

from .engine_metrics import EngineMetrics
from .vllm_metrics import VllmMetrics

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One set for one application, in its own registry; `compat` also publishes it under the names of "vllm"."""

    def __init__(self, compat: str | None = None, model: Callable[[ModelCard], str] = lambda card: card.id) -> None:
        self.registry = registry = CollectorRegistry()
        own = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"rustinfer_{name}", text, registry=own)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rustinfer_{name}", text, labels, registry=own)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rustinfer_{name}_seconds", text, buckets=buckets, registry=own)

        self.engine_up = gauge("engine_up", "1 while the engine is connected and its model ready")
        gauge("server_tasks", "Tasks on the server's event loop").set_function(_tasks)
        self.active = gauge("requests_active", "Generating requests that this server holds")
        self.protocol_errors = counter("protocol_errors", "Undecodable frames that this server dropped")
        self.engine_losses = counter("engine_losses", "Times that the engine was lost")
        self.prompt_tokens = counter("prompt_tokens", "Prompt tokens of accepted requests")
        self.generation_tokens = counter("generation_tokens", "Tokens received from the engine")
        self.outcomes = counter("requests", "Generating requests by how they ended", "outcome")
        self.http = counter("http_responses", "Answers by status code", "status")
        self.first = histogram("time_to_first_token", "From the request to its first token", _FIRST)
        self.between = histogram("inter_token_latency", "Between a sequence's deliveries, per token", _BETWEEN)
        self.whole = histogram("request_duration", "From the request to its end", _WHOLE)
        for outcome in ("finished", "aborted", "failed"):
            self.outcomes.labels(outcome)
        self.engine, self._name, self._model = EngineMetrics(), "", model
        registry.register(own)
        registry.register(self.engine)
        if compat == "vllm":
            registry.register(VllmMetrics([own, self.engine], self.engine, lambda: self._name))

    def take(self, stats: Stats) -> None:
        """The engine's numbers, from now on."""
        self.engine.stats = stats

    def up(self, card: ModelCard) -> None:
        """An engine with this model is there."""
        self._name, self.engine.bound = self._model(card), card.ops
        self.engine_up.set(1)

    def down(self) -> None:
        """It is gone: nothing runs or waits."""
        self.engine_up.set(0)
        self.engine_losses.inc()
        self.engine.stats = replace(self.engine.stats, running=0, waiting=0, waiting_reasons={}, raised=[])

    def text(self) -> bytes:
        return generate_latest(self.registry)


def _tasks() -> float:
    """Tasks of the running event loop, or none where there is none."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
