"""Loads on a small server that answers as it is told; how fast anything is, is not tested."""

from __future__ import annotations

import threading
from threading import Barrier
from types import SimpleNamespace

import pytest

from rustinfer.cli import client
from rustinfer.cli.client import Client
from rustinfer.cli.load import Load, Trace, in_turn, on_time, percentiles, sender
from rustinfer.cli.workload import Ask

from .answers import Answers, events

ASK = Ask("some words", 3)
TEXTS = [{"choices": [{"text": text}]} for text in ("a", "b", "")]
USAGE = {
    "choices": [],
    "usage": {"prompt_tokens": 2, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 1}},
}


def test_a_request_is_streamed_greedily_to_its_end(server: Answers) -> None:
    server.by_path["/v1/completions"] = events(*TEXTS, USAGE)
    trace = sender(Client(server.url), "one")(ASK)
    assert (trace.prompt, trace.cached, trace.made, trace.error) == (2, 1, 9, None)
    assert 0 < trace.first <= trace.last
    body = server.seen[0][2]
    assert (body["model"], body["prompt"], body["max_tokens"], body["temperature"]) == ("one", "some words", 3, 0)
    assert body["stream"]
    assert body["ignore_eos"]


def test_an_event_is_there_with_the_piece_that_ends_its_line(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    server.by_path["/v1/completions"] = events(*TEXTS)
    whole = b'data: {"choices": [{"text": "a"}]}\n\ndata: {"choices": [{"text": "b"}]}\n\ndata: [DONE]\n\n'
    monkeypatch.setattr(client, "time", SimpleNamespace(perf_counter=lambda: 100.0))
    # Of the first event all but its end is there a second after the start, of the second one all after three.
    pieces = [(101.0, whole[:20]), (102.0, whole[20:50]), (103.0, whole[50:])]
    monkeypatch.setattr(client, "_pieces", lambda response, url: iter(pieces))
    trace = sender(Client(server.url), "one")(ASK)
    assert (trace.first, trace.last) == (2, 3)


def test_a_server_without_usage_is_counted_by_its_pieces(server: Answers) -> None:
    server.by_path["/v1/completions"] = events(*TEXTS)
    assert sender(Client(server.url), "one")(ASK).made == 2


def test_a_failure_is_counted_and_ends_nothing(server: Answers) -> None:
    server.by_path["/v1/completions"] = (503, '{"error": {"message": "full"}}')
    load = in_turn(sender(Client(server.url), "one"), [ASK] * 3, clients=2)
    assert all("refused (503): full" in str(trace.error) for trace in load.traces)
    summary = load.summary()
    assert (summary["requests"], summary["failed"], summary["output_tokens"]) == (3, 3, 0)
    assert summary["first_token_ms"] == {"p50": None, "p90": None, "p99": None}


def test_rates_and_percentiles() -> None:
    traces = [Trace(0.1 * i, 0.1 * i + 1.0, 10, 4, 11) for i in range(1, 12)]
    summary = Load(traces, seconds=2.0).summary()
    assert summary["output_tokens_per_second"] == 11 * 11 / 2
    assert summary["requests_per_second"] == 5.5
    assert (summary["prompt_tokens"], summary["cached_tokens"]) == (110, 44)
    assert summary["first_token_ms"]["p50"] == pytest.approx(600)
    assert summary["first_token_ms"]["p90"] == pytest.approx(1000)
    assert summary["between_tokens_ms"]["p99"] == pytest.approx(100)
    assert percentiles([0.25]) == {"p50": 250, "p90": 250, "p99": 250}
    assert Trace(0.1, 0.1, 1, 0, 1).each == 0


def test_no_more_clients_than_asked_for() -> None:
    running, most = set[int](), [0]
    meeting = Barrier(3)  # fewer than asked for would wait here for ever

    def send(ask: Ask) -> Trace:
        running.add(ask.tokens)
        meeting.wait(20)
        most[0] = max(most[0], len(running))
        meeting.wait(20)
        running.discard(ask.tokens)
        return Trace(0, 0, 0, 0, 0)

    in_turn(send, [Ask("", i) for i in range(12)], clients=3)
    assert most == [3]
    meeting = Barrier(5)
    on_time(send, [Ask("", i) for i in range(5)], [0.0] * 5)
    assert most == [5]


def test_requests_leave_at_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[int, float]] = []
    slept = threading.local()
    clock = SimpleNamespace(perf_counter=lambda: 100.0, sleep=lambda seconds: setattr(slept, "seconds", seconds))
    monkeypatch.setattr("rustinfer.cli.load.time", clock)

    def send(ask: Ask) -> Trace:
        left.append((ask.tokens, slept.seconds))
        return Trace(0, 0, 0, 0, 0)

    on_time(send, [Ask("", 2), Ask("", 1)], [0.5, 0.05])
    assert sorted(left) == [(1, 0.05), (2, 0.5)]
