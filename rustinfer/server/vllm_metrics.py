"""Our numbers under the names that dashboards made for vLLM ask for: `--metrics-compat vllm`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .engine_metrics import EngineMetrics

NAMES = {
    "requests_running": "num_requests_running",
    "requests_waiting": "num_requests_waiting",
    "requests_waiting_by_reason": "num_requests_waiting_by_reason",
    "sequences": "request_success",
    "engine_refusals": "admission_rejections",
    "prompt_tokens": "prompt_tokens",
    "generation_tokens": "generation_tokens",
    "time_to_first_token_seconds": "time_to_first_token_seconds",
    "inter_token_latency_seconds": "inter_token_latency_seconds",
    "request_duration_seconds": "e2e_request_latency_seconds",
    "queue_seconds": "request_queue_time_seconds",
    "prefill_seconds": "request_prefill_time_seconds",
    "decode_seconds": "request_decode_time_seconds",
    "step_tokens": "iteration_tokens_total",
    "speculation_drafts": "spec_decode_num_drafts",
    "speculation_draft_tokens": "spec_decode_num_draft_tokens",
    "speculation_accepted_tokens": "spec_decode_num_accepted_tokens",
}
LABELS = {"reason": "finished_reason"}
"""vLLM's name for the label of `request_success`."""


class VllmMetrics:
    """A Prometheus collector that renames what others collect. `model` is the name of the running model."""

    def __init__(self, own: list[Collector], engine: EngineMetrics, model: Callable[[], str]) -> None:
        self._own, self._engine, self._model = own, engine, model

    def collect(self) -> Iterator[Metric]:
        labels = {"model_name": self._model(), "engine": "0"}
        for collector in self._own:
            for family in collector.collect():
                if name := NAMES.get(family.name.removeprefix("rustinfer_")):
                    yield _renamed(family, f"vllm:{name}", labels)
        yield from (_renamed(family, family.name, labels) for family in self._derived())

    def _derived(self) -> Iterator[Metric]:
        stats = self._engine.stats
        used = stats.pages_used / max(stats.pages_total, 1)
        yield GaugeMetricFamily("vllm:kv_cache_usage_perc", "The share of the KV cache in use, 0 to 1", used)
        yield CounterMetricFamily("vllm:num_preemptions", "Sequences set back", stats.preemptions)
        yield CounterMetricFamily("vllm:prefix_cache_queries", "Prompt tokens looked up", stats.prompt_tokens)
        yield CounterMetricFamily("vllm:prefix_cache_hits", "Prompt tokens found in the cache", stats.cached_tokens)


def _renamed(family: Metric, name: str, labels: dict[str, str]) -> Metric:
    made = Metric(name, family.documentation, family.type, family.unit)
    finished = name == "vllm:request_success"
    for sample in family.samples:
        own = {LABELS.get(key, key) if finished else key: value for key, value in sample.labels.items()}
        suffix = sample.name.removeprefix(family.name)
        made.samples.append(sample._replace(name=name + suffix, labels=own | labels))
    return made
