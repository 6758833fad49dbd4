"""What `parameters.py` says of every field is so, and it says it of every field that there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest

from rustinfer.protocol.address import private_address
from rustinfer.server import chat_request, completion_request
from rustinfer.server.fields import Refused
from rustinfer.server.responses import request as response_request

from .conftest import client_of, wait_for
from .fake_engine import TOOL_TEMPLATE, FakeEngine, card, tokenizer_json
from .parameters import CHAT, COMPLETIONS, ENDPOINTS, RESPONSES, Endpoint, Parameter

ROWS = [pytest.param(e, p, id=f"{e.path[4:]} {p.name}") for e in ENDPOINTS for p in e.parameters]
REFUSED: dict[str, Refused] = {
    COMPLETIONS.path: completion_request.REFUSED,
    CHAT.path: chat_request.REFUSED,
    RESPONSES.path: response_request.REFUSED,
}
KNOWN = """
    temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty seed n logprobs
    top_logprobs echo prompt_logprobs stop stop_token_ids ignore_eos min_tokens logit_bias allowed_token_ids bad_words
    stream_options response_format regex ebnf guided_choice tools tool_choice parallel_tool_calls reasoning_effort
    priority return_token_ids cache_salt kv_transfer_params thinking_token_budget stop_regex repetition_detection"""
"""What vLLM or SGLang honours in a chat or a completion."""
CHANGING = re.compile(r'"(id|created|created_at|completed_at|call_id|item_id)": ?("[^"]*"|\d+)')


def with_a_first_token() -> str:
    """The fake tokenizer, which now begins each text with its end token where special tokens are added."""
    table = json.loads(tokenizer_json())
    special = {"<|end|>": {"id": "<|end|>", "ids": [256], "tokens": ["<|end|>"]}}
    pieces = [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    table["post_processor"] = {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": special}
    return json.dumps(table)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    model = card(chat_template=TOOL_TEMPLATE, context=2048, tokenizer_json=with_a_first_token())
    with FakeEngine(private_address(), card=model) as engine:
        yield engine


@pytest.fixture(scope="module")
def http(engine: FakeEngine) -> Iterator[httpx.Client]:
    with client_of(engine.address) as http:
        yield http


def seen(http: httpx.Client, engine: FakeEngine, path: str, body: dict[str, Any]) -> Any:
    """All that an observer sees of a request: its answer but for ids and times, and what the engine was asked."""
    engine.requests.clear()
    response = http.post(path, json=body)
    wait_for(lambda: response.status_code != 200 or (engine.requests and not engine.running))
    asked = [asdict(replace(r, id="", salt=r.salt)) for r in engine.requests]
    for request in asked:
        if "seed" not in body:
            request["sampling"]["seed"] = None
    shown = CHANGING.sub("", response.text)
    if response.headers["content-type"].startswith("text/event-stream"):  # how it is cut changes
        shown = "a stream, with usage" if '"usage":{' in shown else "a stream"
    return response.status_code, response.headers.get("x-ignored-params"), shown, asked


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.path)
def test_every_field_is_in_the_table(endpoint: Endpoint) -> None:
    named = [p.name for p in endpoint.parameters]
    assert len(named) == len(set(named))
    assert endpoint.model.model_fields.keys() - set(named) == set()


@pytest.mark.parametrize(("endpoint", "parameter"), ROWS)
def test_it_changes_what_is_seen(
    http: httpx.Client, engine: FakeEngine, endpoint: Endpoint, parameter: Parameter
) -> None:
    base = endpoint.body | parameter.base
    before = seen(http, engine, endpoint.path, base)
    assert before == seen(http, engine, endpoint.path, base)
    assert before[0] == 200
    change = parameter.change(http) if callable(parameter.change) else parameter.change
    after = seen(http, engine, endpoint.path, base | {parameter.name: change})
    assert after[0] == (404 if parameter.name == "model" else 200)
    assert (after == before) == (change is None)


@pytest.mark.parametrize(("endpoint", "parameter"), ROWS)
def test_a_bad_value_is_refused_by_name(http: httpx.Client, endpoint: Endpoint, parameter: Parameter) -> None:
    for stream in ({}, {"stream": True}) if endpoint in (COMPLETIONS, CHAT) else ({},):
        response = http.post(
            endpoint.path, json=endpoint.body | parameter.base | stream | {parameter.name: parameter.bad}
        )
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert re.split(r"[.\[]", error["param"])[0] == parameter.name
        assert parameter.name in error["message"]


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in REFUSED.items() for name in names])
def test_known_and_not_honoured_is_refused(http: httpx.Client, path: str, name: str) -> None:
    (endpoint,) = (e for e in ENDPOINTS if e.path == path)
    response = http.post(path, json=endpoint.body | {name: "zebra"})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, name, "unsupported_parameter")
    assert name in error["message"]
    for neutral in (None, *REFUSED[path][name]):
        fine = http.post(path, json=endpoint.body | {name: neutral})
        assert (fine.status_code, fine.headers.get("x-ignored-params")) == (200, None)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.path)
def test_unknown_is_ignored_and_said_so(http: httpx.Client, endpoint: Endpoint) -> None:
    response = http.post(endpoint.path, json=endpoint.body | {"zebra": 1, "quagga": None})
    assert (response.status_code, response.headers["x-ignored-params"]) == (200, "quagga, zebra")


def test_what_others_honour_is_known() -> None:
    both = {p.name for e in (CHAT, COMPLETIONS) for p in e.parameters} | set(REFUSED[CHAT.path])
    assert set(KNOWN.split()) - both == set()
