"""The engine's own numbers at /metrics, as its last message told them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from rustinfer.protocol.messages import Histogram, OpRow, Raised, Stats

GAUGES = {
    "requests_running": ("running", "Sequences that the engine computes"),
    "requests_waiting": ("waiting", "Sequences that wait in the engine"),
    "cache_pages": ("pages_total", "Pages of the engine's KV cache"),
    "cache_pages_used": ("pages_used", "Pages of the KV cache in use"),
    "preemptions": ("preemptions", "Sequences set back since the engine started"),
    "engine_cached_tokens": ("cached_tokens", "Prompt tokens found in the cache since the engine started"),
    "engine_prompt_tokens": ("prompt_tokens", "Prompt tokens since the engine started"),
    "engine_memory_bytes": ("memory_bytes", "Main memory that the engine holds"),
    "device_memory_bytes": ("device_memory_bytes", "Memory of the engine's GPU; 0 where there is none"),
    "device_memory_used_bytes": ("device_memory_used_bytes", "Memory of the engine's GPU that is in use"),
    "engine_protocol_errors": ("protocol_errors", "Undecodable frames that the engine dropped"),
}
COUNTERS = {
    "engine_generated_tokens": ("generated_tokens", "Tokens that the engine produced"),
    "engine_computed_tokens": ("computed_tokens", "Prompt tokens that the engine computed"),
    "engine_steps": ("steps", "Steps that the engine ran"),
    "engine_refusals": ("refused", "Requests that the engine did not take"),
    "speculation_drafts": ("drafts", "Times that tokens were guessed ahead"),
    "speculation_draft_tokens": ("draft_tokens", "Tokens that were guessed ahead"),
    "speculation_accepted_tokens": ("accepted_tokens", "Tokens guessed ahead that were right"),
}
HISTOGRAMS = {
    "step_seconds": "From a step's launch to its landing",
    "step_tokens": "Tokens that a step computes",
    "queue_seconds": "From a sequence's arrival to its first step",
    "prefill_seconds": "From a sequence's first step to its first token",
    "decode_seconds": "From a sequence's first token to its last",
}


class EngineMetrics:
    """A Prometheus collector over the last Stats. Nothing of an engine that is gone but its totals."""

    def __init__(self) -> None:
        self.stats = Stats(0)
        self.bound: list[OpRow] = []

    @property
    def ops(self) -> list[OpRow]:
        """What runs where by now: the reference in place of each kernel that has been disabled since it was bound."""
        disabled = {(each.op, each.kernel): each.disabled for each in self.stats.raised if each.disabled}
        return [_fallen(row, disabled.get((row.op, row.kernel))) for row in self.bound] if disabled else self.bound

    def collect(self) -> Iterator[Metric]:
        for name, (attribute, text) in GAUGES.items():
            yield GaugeMetricFamily(f"rustinfer_{name}", text, getattr(self.stats, attribute))
        for name, (attribute, text) in COUNTERS.items():
            yield CounterMetricFamily(f"rustinfer_{name}", text, getattr(self.stats, attribute))
        waiting = "Sequences that wait in the engine, by what for"
        yield _labelled(GaugeMetricFamily, "requests_waiting_by_reason", waiting, "reason", self.stats.waiting_reasons)
        ended = "Sequences that came to their end in the engine, by why"
        yield _labelled(CounterMetricFamily, "sequences", ended, "reason", self.stats.finished)
        fallen = "Places of the model where a reference stands in for a kernel, by op"
        yield _labelled(GaugeMetricFamily, "kernel_fallbacks", fallen, "op", fallbacks(self.ops))
        yield _raised(self.stats.raised)
        for name, text in HISTOGRAMS.items():
            yield _histogram(f"rustinfer_{name}", text, getattr(self.stats, name))


def fallbacks(ops: list[OpRow]) -> dict[str, int]:
    """Sites that run a reference though kernels were asked, by op."""
    return dict(Counter(row.op for row in ops if row.kernel == "reference" and row.refusals))


def _fallen(row: OpRow, why: str | None) -> OpRow:
    return replace(row, kernel="reference", refusals={**row.refusals, row.kernel: why}) if why else row


def _raised(kernels: list[Raised]) -> CounterMetricFamily:
    text = "Times that a kernel raised while the model ran, by op and kernel"
    family = CounterMetricFamily("rustinfer_kernel_errors", text, labels=["op", "kernel"])
    for each in kernels:
        family.add_metric([each.op, each.kernel], each.count)
    return family


def _labelled(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, label: str, values: dict[str, int]
) -> Metric:
    family = kind(f"rustinfer_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, found: Histogram) -> HistogramMetricFamily:
    total, buckets = 0.0, []
    for edge, count in zip([*map(str, found.bounds), "+Inf"], found.counts or [0.0], strict=False):
        total += count
        buckets.append((edge, total))
    buckets = buckets if found.bounds else [("+Inf", total)]
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=found.sum)
