"""What Prometheus reads at /metrics. The names are published: dashboards break when one goes."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rustinfer.protocol.messages import Stats

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One set for one application, in its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"rustinfer_{name}", text, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rustinfer_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rustinfer_{name}_seconds", text, buckets=buckets, registry=registry)

        self.engine_up = gauge("engine_up", "1 while the engine is connected and its model ready")
        gauge("server_tasks", "Tasks on the server's event loop").set_function(lambda: len(asyncio.all_tasks()))
        self.active = gauge("requests_active", "Generating requests that this server holds")
        self.running = gauge("requests_running", "Sequences that the engine computes")
        self.waiting = gauge("requests_waiting", "Sequences that wait in the engine")
        self.pages_total = gauge("cache_pages", "Pages of the engine's KV cache")
        self.pages_used = gauge("cache_pages_used", "Pages of the KV cache in use")
        self.preemptions = gauge("preemptions", "Sequences set back since the engine started")
        self.cached_tokens = gauge("engine_cached_tokens", "Prompt tokens found in the cache since the engine started")
        self.engine_prompt_tokens = gauge("engine_prompt_tokens", "Prompt tokens since the engine started")
        self.memory = gauge("engine_memory_bytes", "Main memory that the engine holds")
        self.device_memory = gauge("device_memory_bytes", "Memory of the engine's GPU; 0 where there is none")
        self.device_memory_used = gauge("device_memory_used_bytes", "Memory of the engine's GPU that is in use")
        self.engine_protocol_errors = gauge("engine_protocol_errors", "Undecodable frames that the engine dropped")
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

    def take(self, stats: Stats) -> None:
        self.running.set(stats.running)
        self.waiting.set(stats.waiting)
        self.pages_total.set(stats.pages_total)
        self.pages_used.set(stats.pages_used)
        self.preemptions.set(stats.preemptions)
        self.cached_tokens.set(stats.cached_tokens)
        self.engine_prompt_tokens.set(stats.prompt_tokens)
        self.memory.set(stats.memory_bytes)
        self.device_memory.set(stats.device_memory_bytes)
        self.device_memory_used.set(stats.device_memory_used_bytes)
        self.engine_protocol_errors.set(stats.protocol_errors)

    def text(self) -> bytes:
        return generate_latest(self.registry)
