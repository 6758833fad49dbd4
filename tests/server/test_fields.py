"""Fields that are unknown, refused, or told apart from others; rows CH15 to CH21 and CH30 of the behaviours."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import openai
import pytest

from .calls import refused
from .chats import MESSAGES, post
from .fake_engine import FakeEngine


def test_ch15_unknown_fields_are_named(http: httpx.Client) -> None:
    response = post(http, user="me", zebra=1, **{"bad\r\nname": 2})
    assert response.status_code == 200
    assert response.headers["x-ignored-params"] == "user, zebra"
    assert post(http, zebra=1, stream=True).headers["x-ignored-params"] == "zebra"


def test_ch15_unknown_fields_are_logged_once(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rustinfer.server.fields"):
        for _ in range(2):
            assert post(http, okapi=1, user="me").status_code == 200
    assert [r.getMessage() for r in caplog.records if r.name == "rustinfer.server.fields"] == [
        "requests have fields that nobody here knows: okapi"
    ]


def test_ch15_many_unknown_fields_fill_no_log(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    many = {f"field{number:04}": 1 for number in range(2000, 0, -1)}
    with caplog.at_level(logging.INFO, "rustinfer.server.fields"):
        assert post(http, **many).headers["x-ignored-params"] == ", ".join(sorted(many)[:32])
    (record,) = (r for r in caplog.records if r.name == "rustinfer.server.fields")
    assert len(record.getMessage()) < 1000


@pytest.mark.parametrize("stream", [False, True])
def test_ch16_unknown_model(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=MESSAGES, stream=stream)  # type: ignore[call-overload]
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_model_is_required(http: httpx.Client) -> None:
    refused(http.post("/v1/chat/completions", json={"messages": MESSAGES}), "model")
    refused(post(http, model=5), "model")


@pytest.mark.parametrize("name", ["tokenize", "chat_template", "add_generation_prompt", "messages", "tools", "self"])
def test_ch19_reserved_template_variables(http: httpx.Client, name: str) -> None:
    refused(post(http, chat_template_kwargs={name: True}), "chat_template_kwargs")


def test_ch21_seed(http: httpx.Client) -> None:
    refused(post(http, seed=2**63), "seed")
    assert post(http, seed=2**63 - 1).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reasoning_effort", "high"),
        ("chat_template", "x"),
        ("store", True),
        ("audio", {"voice": "a"}),
        ("functions", [{"name": "f"}]),
        ("modalities", ["text", "audio"]),
    ],
)
def test_known_but_not_honoured_is_refused(http: httpx.Client, name: str, value: Any) -> None:
    response = post(http, **{name: value})
    assert name in refused(response, name)
    assert response.json()["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("salt", ["a/b", "a\0b", "x" * 10_000, "", 5])
def test_ch30_bad_salts(http: httpx.Client, salt: Any) -> None:
    refused(post(http, cache_salt=salt), "cache_salt")


def test_a_salt_keeps_the_cache_apart(http: httpx.Client, engine: FakeEngine) -> None:
    assert post(http, cache_salt="mine").status_code == 200
    assert engine.requests[-1].salt == "mine"


def test_tl4_null_is_absent(http: httpx.Client) -> None:
    nothing = dict.fromkeys(
        ["tools", "tool_choice", "response_format", "seed", "stop", "n", "temperature", "logit_bias", "store", "user"]
    )
    assert post(http, **nothing).status_code == 200
    assert post(http, tool_choice="auto", tools=[], modalities=["text"]).status_code == 200
