"""Published names stay, in both dialects; and the engine's numbers arrive under them."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from rustinfer.protocol.messages import Histogram, ModelCard, OpRow, Raised, Stats
from rustinfer.server.engine_metrics import COUNTERS, GAUGES, HISTOGRAMS, fallbacks
from rustinfer.server.metrics import Metrics

OWN = """cache_pages cache_pages_used decode_seconds device_memory_bytes device_memory_used_bytes engine_cached_tokens
engine_computed_tokens_total engine_generated_tokens_total engine_losses_total engine_memory_bytes engine_prompt_tokens
engine_protocol_errors engine_refusals_total engine_steps_total engine_up generation_tokens_total http_responses_total
inter_token_latency_seconds kernel_errors_total kernel_fallbacks preemptions prefill_seconds prompt_tokens_total
protocol_errors_total queue_seconds request_duration_seconds requests_active requests_running requests_total
requests_waiting requests_waiting_by_reason sequences_total server_tasks speculation_accepted_tokens_total
speculation_draft_tokens_total speculation_drafts_total step_seconds step_tokens time_to_first_token_seconds"""
VLLM = """admission_rejections_total e2e_request_latency_seconds generation_tokens_total inter_token_latency_seconds
iteration_tokens_total kv_cache_usage_perc num_preemptions_total num_requests_running num_requests_waiting
num_requests_waiting_by_reason prefix_cache_hits_total prefix_cache_queries_total prompt_tokens_total
request_decode_time_seconds request_prefill_time_seconds request_queue_time_seconds request_success_total
spec_decode_num_accepted_tokens_total spec_decode_num_draft_tokens_total spec_decode_num_drafts_total
time_to_first_token_seconds"""
STATS = Stats(
    7, running=3, waiting=4, pages_total=50, pages_used=10, prompt_tokens=100, cached_tokens=40, preemptions=2,
    waiting_reasons={"capacity": 3, "grammar": 1}, finished={"stop": 5, "abort": 1}, refused=6, drafts=8,
    draft_tokens=32, accepted_tokens=20, steps=9, step_seconds=Histogram([0.5, 1.0], [4.0, 2.0, 1.0], 3.5),
)  # fmt: skip
CARD = ModelCard(
    "m", 8, 9, [0], "", None, {}, "float32", 16, 0, "/m", [OpRow("a", "norm", "reference", {"cpu": "why"})]
)


def types(metrics: Metrics) -> set[str]:
    """Every name that /metrics announces."""
    lines = metrics.text().decode().splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE") and not line.split()[2].endswith("_created")}


def samples(metrics: Metrics) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_every_published_name_is_known_here() -> None:
    own = {f"rustinfer_{name}" for name in OWN.split()}
    assert types(Metrics()) == own
    assert types(Metrics("vllm")) == own | {f"vllm:{name}" for name in VLLM.split()}


def test_the_engines_numbers_arrive() -> None:
    metrics = Metrics()
    metrics.take(STATS)
    found = samples(metrics)
    assert found["rustinfer_requests_running"] == 3
    assert found['rustinfer_requests_waiting_by_reason{reason="grammar"}'] == 1
    assert found['rustinfer_sequences_total{reason="stop"}'] == 5
    assert found["rustinfer_speculation_accepted_tokens_total"] == 20
    edges = [found[f'rustinfer_step_seconds_bucket{{le="{edge}"}}'] for edge in ("0.5", "1.0", "+Inf")]
    assert edges == [4, 6, 7]
    assert (found["rustinfer_step_seconds_count"], found["rustinfer_step_seconds_sum"]) == (7, 3.5)


def test_under_vllms_names() -> None:
    metrics = Metrics("vllm", lambda card: f"served as {card.id}")
    metrics.up(CARD)
    metrics.take(STATS)
    metrics.first.observe(0.2)
    found = samples(metrics)
    labels = 'engine="0",model_name="served as m"'
    assert found[f"vllm:num_requests_running{{{labels}}}"] == 3
    assert found[f"vllm:kv_cache_usage_perc{{{labels}}}"] == 0.2
    assert found[f"vllm:prefix_cache_hits_total{{{labels}}}"] == 40
    assert found['vllm:request_success_total{engine="0",finished_reason="stop",model_name="served as m"}'] == 5
    assert found[f"vllm:time_to_first_token_seconds_count{{{labels}}}"] == 1
    assert found['vllm:time_to_first_token_seconds_bucket{engine="0",le="0.25",model_name="served as m"}'] == 1


def test_an_engine_that_is_gone_runs_nothing() -> None:
    metrics = Metrics()
    metrics.up(CARD)
    metrics.take(STATS)
    assert samples(metrics)['rustinfer_kernel_fallbacks{op="norm"}'] == 1
    metrics.down()
    found = samples(metrics)
    assert (found["rustinfer_engine_up"], found["rustinfer_requests_running"]) == (0, 0)
    assert found["rustinfer_engine_steps_total"] == 9


def test_a_kernel_that_was_disabled_runs_nowhere() -> None:
    metrics = Metrics()
    metrics.up(replace(CARD, ops=[OpRow("a", "norm", "toy"), OpRow("b", "linear", "toy")]))
    metrics.take(replace(STATS, raised=[Raised("norm", "toy", 3, "raised"), Raised("linear", "toy", 2)]))
    assert metrics.engine.ops == [OpRow("a", "norm", "reference", {"toy": "raised"}), OpRow("b", "linear", "toy")]
    found = samples(metrics)
    assert found['rustinfer_kernel_errors_total{kernel="toy",op="norm"}'] == 3
    assert found['rustinfer_kernel_errors_total{kernel="toy",op="linear"}'] == 2
    assert found['rustinfer_kernel_fallbacks{op="norm"}'] == 1
    metrics.down()  # another engine has raised nothing yet
    assert metrics.engine.ops[0].kernel == "toy"


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        (OpRow("a", "norm", "reference", {"triton": "no"}), 1),
        (OpRow("a", "norm", "reference"), 0),
        (OpRow("a", "norm", "cpu", {"triton": "no"}), 0),
    ],
)
def test_a_fallback_is_a_reference_where_kernels_were_asked(row: OpRow, counted: int) -> None:
    assert sum(fallbacks([row]).values()) == counted


def test_every_number_of_the_engine_is_published() -> None:
    listed = {attribute for attribute, _ in [*GAUGES.values(), *COUNTERS.values()]} | set(HISTOGRAMS)
    assert {f.name for f in fields(Stats)} == listed | {"epoch", "waiting_reasons", "finished", "raised"}
