"""Sampling parameters and their bounds; rows C24 to C31 of the behaviours."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from .calls import ask, post, refused
from .conftest import MODEL
from .fake_engine import VOCAB, FakeEngine

ASKED = [{"role": "user", "content": "a"}]
MESSAGES = json.dumps(ASKED)


def memory() -> int:
    """Resident bytes of this process, in which the server runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_c24_seed(client: openai.OpenAI) -> None:
    def said(seed: int) -> str:
        return str(ask(client, temperature=0.8, seed=seed, max_tokens=12).choices[0].text)

    assert said(42) == said(42)
    assert len({said(s) for s in range(4)}) == 4


NUMBERS = ["temperature", "top_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "min_p", "typical_p"]
NONE = ["NaN", "Infinity", "-Infinity", "1e400", "-3", '"1"', "true", "[]"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [*NONE, "3"])
def test_c28_numbers(http: httpx.Client, name: str, value: str) -> None:
    if (name, value) == ("repetition_penalty", "3"):
        return  # in range
    for path, head in (("/v1/completions", '"prompt": "a"'), ("/v1/chat/completions", f'"messages": {MESSAGES}')):
        raw = f'{{"model": "{MODEL}", {head}, "{name}": {value}}}'
        response = http.post(path, content=raw, headers={"content-type": "application/json"})
        assert name in refused(response, name)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", '[1, {"a": NaN}]'])
def test_c28_no_number_is_let_through_anywhere(http: httpx.Client, value: str) -> None:
    raw = f'{{"model": "{MODEL}", "input": "a", "tools": [{{"type": "function", "name": "f", "parameters": {value}}}]}}'
    refused(http.post("/v1/responses", content=raw, headers={"content-type": "application/json"}), "tools")
    raw = f'{{"model": "{MODEL}", "prompt": "a", "unheard_of": {value}}}'
    refused(http.post("/v1/completions", content=raw, headers={"content-type": "application/json"}), "unheard_of")


@pytest.mark.parametrize(
    ("name", "value"),
    [("best_of", 100), ("best_of", 0), ("best_of", True), ("suffix", "x"), ("use_beam_search", True), ("store", True)],
)
def test_c29_c31_known_but_not_honoured(http: httpx.Client, name: str, value: Any) -> None:
    assert name in refused(post(http, **{name: value}), name)


def test_c26_c27_logit_bias(http: httpx.Client, client: openai.OpenAI, engine: FakeEngine) -> None:
    ask(client, logit_bias={"65": -100, "66": 1.5})
    assert engine.requests[-1].sampling.logit_bias == {65: -100.0, 66: 1.5}
    message = refused(post(http, logit_bias={"900": 1}), "logit_bias")
    assert "900" in message
    assert str(VOCAB) in message
    message = refused(post(http, logit_bias={"bad1": 1, "5": 1, "bad2": 1}), "logit_bias")
    assert "bad1" in message
    assert "bad2" in message
    for bad in ({"5": "x"}, {"5": 101}, {"-1": 1}, {"5": None}, [], "x", {"5": True}):
        refused(post(http, logit_bias=bad), "logit_bias")


def test_values_that_ask_for_nothing_are_fine(http: httpx.Client) -> None:
    response = post(http, best_of=1, suffix=None, logit_bias={}, echo=False, response_format={"type": "text"})
    assert response.status_code == 200
    assert "x-ignored-params" not in response.headers


@pytest.mark.parametrize("n", [0, -1, 129, 10**9, 2**70, 1.5, "2"])
def test_c30_n(http: httpx.Client, n: Any) -> None:
    before, costs = memory(), []
    for path in ("/v1/completions", "/v1/chat/completions"):
        body = {"model": MODEL, "prompt": "a"} if path == "/v1/completions" else {"model": MODEL, "messages": ASKED}
        for _ in range(5):
            started = time.process_time()
            refused(http.post(path, json=body | {"n": n}), "n")
            costs.append(time.process_time() - started)
    assert min(costs) < 0.05  # of the processor, for both ends: the machine may be busy with others
    assert memory() - before < 5 << 20


def test_choices_are_bounded(http: httpx.Client) -> None:
    refused(post(http, prompt=["a"] * 100, n=100), "n")


@pytest.mark.parametrize("name", ["max_tokens", "min_tokens", "seed", "top_k"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.5, "x", [1], {}, True, 10**400])
def test_t11_t31_integers(http: httpx.Client, name: str, value: Any) -> None:
    overflow = name == "max_tokens" and type(value) is int and value > 0  # more than the context holds
    refused(post(http, **{name: value}), "prompt" if overflow else name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 0),
        ("typical_p", 1.1),
        ("allowed_token_ids", []),
        ("allowed_token_ids", [VOCAB]),
        ("allowed_token_ids", 5),
        ("bad_words", [""]),
        ("bad_words", "x" * 3),
        ("priority", "high"),
        ("priority", 2**40),
        ("service_tier", "gold"),
        ("user", 5),
        ("user", "x" * 1000),
        ("metadata", []),
        ("metadata", {str(i): "" for i in range(17)}),
        ("min_tokens", 6),
        ("repetition_penalty", 0),
        ("ignore_eos", 1),
        ("skip_special_tokens", "yes"),
        ("include_stop_str_in_output", 0),
        ("echo", 1),
        ("stream", "yes"),
        ("stream_options", "x"),
        ("add_special_tokens", 1),
    ],
)
def test_a_bad_value_is_named(http: httpx.Client, name: str, value: Any) -> None:
    refused(post(http, **{name: value}), name)


def test_parameters_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    ask(client, temperature=0.7, top_p=0.9, presence_penalty=0.1, frequency_penalty=-0.2, seed=-3, n=2, extra_body={
        "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 2,
        "stop_token_ids": [9], "skip_special_tokens": False, "typical_p": 0.5, "allowed_token_ids": [80, 9],
        "bad_words": ["Par"], "priority": -3,
    })  # fmt: skip
    assert engine.requests[-1].priority == -3
    got = engine.requests[-1].sampling
    assert (got.temperature, got.top_p, got.presence_penalty, got.frequency_penalty) == (0.7, 0.9, 0.1, -0.2)
    assert (got.seed, got.n, got.top_k, got.min_p, got.repetition_penalty) == (-3, 2, 40, 0.05, 1.1)
    assert (got.ignore_eos, got.min_tokens, got.stop_token_ids, got.skip_special_tokens) == (True, 2, (9,), False)
    assert (got.typical_p, got.allowed_token_ids, got.bad_words_token_ids) == (0.5, (80, 9), (tuple(b"Par"),))
    assert got.max_tokens == 5
