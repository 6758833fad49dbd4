"""POST /v1/chat/completions; rows CH* and TL* of the behaviours, as far as this server goes yet."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import httpx
import openai
import pytest

from .calls import refused
from .conftest import MODEL
from .fake_engine import TEXT, FakeEngine

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]
PROMPT = "system: Be brief.\nuser: Where?\nassistant: "


def ask(client: openai.OpenAI, messages: Any = MESSAGES, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, **{"temperature": 0, "max_tokens": 8, **more})


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": MODEL, "messages": MESSAGES, "max_tokens": 8, **fields})


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_ch1_ch2_whole(client: openai.OpenAI, engine: FakeEngine) -> None:
    answer = ask(client)
    choice = answer.choices[0]
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", TEXT[:8], None)
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("length", 0, None)
    assert bytes(engine.requests[-1].prompt_token_ids).decode() == PROMPT
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(PROMPT), 8)
    assert answer.usage.total_tokens == len(PROMPT) + 8
    assert abs(answer.created - time.time()) < 5


def test_required_keys_are_present(http: httpx.Client) -> None:
    choice = post(http).json()["choices"][0]
    assert {"finish_reason", "index", "message", "logprobs"} <= choice.keys()
    assert {"role", "content", "refusal"} <= choice["message"].keys()


def test_ch3_ch4_ch5_stream(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, max_tokens=120))
    first, *middle, last = chunks
    assert first.choices[0].delta.role == "assistant"
    assert not first.choices[0].delta.content
    assert all(c.choices[0].delta.role is None for c in middle)
    assert "".join(c.choices[0].delta.content for c in middle) == ask(client, max_tokens=120).choices[0].message.content
    assert not last.choices[0].delta.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]
    assert last.choices[0].finish_reason == "length"
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert first.object == "chat.completion.chunk"


def test_stream_of_several_choices(client: openai.OpenAI) -> None:
    chunks = [c.choices[0] for c in ask(client, stream=True, n=3, temperature=1, seed=1)]
    for index in range(3):
        own = [c for c in chunks if c.index == index]
        assert own[0].delta.role == "assistant"
        assert [c.finish_reason for c in own if c.finish_reason] == ["length"]


def test_ch6_ch7_ch9_logprobs(client: openai.OpenAI) -> None:
    none = ask(client, logprobs=True, top_logprobs=0).choices[0].logprobs.content
    assert [t.top_logprobs for t in none] == [[]] * 8
    five = ask(client, logprobs=True, top_logprobs=5, max_tokens=120).choices[0]
    for token in five.logprobs.content:
        values = [t.logprob for t in token.top_logprobs]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert all(-9999 <= v <= 0 for v in values)
        assert all(t.bytes is not None for t in token.top_logprobs)
    assert "".join(t.token for t in five.logprobs.content) == five.message.content
    assert bytes(b for t in five.logprobs.content for b in t.bytes).decode() == five.message.content
    streamed = ask(client, logprobs=True, top_logprobs=5, max_tokens=120, stream=True)
    tokens = [t for c in streamed if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert tokens == five.logprobs.content


@pytest.mark.parametrize("stream", [False, True])
def test_ch8_top_logprobs(http: httpx.Client, stream: bool) -> None:
    for bad in (21, -1, "x"):
        refused(post(http, logprobs=True, top_logprobs=bad, stream=stream), "top_logprobs")
    refused(post(http, top_logprobs=3, stream=stream), "top_logprobs")
    assert post(http, stream=stream).status_code == 200


def test_ch10_null_logprobs_are_none(http: httpx.Client) -> None:
    def choices(**more: Any) -> Any:
        return post(http, temperature=0, **more).json()["choices"]

    assert choices(logprobs=None, top_logprobs=None) == choices()
    five = choices(logprobs=True, top_logprobs=None)
    assert five == choices(logprobs=True)
    assert five[0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_ch11_text_parts(client: openai.OpenAI, engine: FakeEngine) -> None:
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "ere?"}]
    answer = ask(client, [MESSAGES[0], {"role": "user", "content": parts}])
    assert answer.usage.prompt_tokens == ask(client).usage.prompt_tokens
    assert bytes(engine.requests[-1].prompt_token_ids).decode() == PROMPT


def test_tl7_tl8_every_role(client: openai.OpenAI, engine: FakeEngine) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "d"},
    ]
    ask(client, turns)
    assert (
        bytes(engine.requests[-1].prompt_token_ids).decode() == "system: a\nuser: b\n"
        'assistant: <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n'
        "user: <tool_response>\nd\n</tool_response>\nassistant: "
    )


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("string", "messages"),
        ([], "messages"),
        ([123], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"role": 123}], "messages[0].role"),
        ([{"role": "system", "content": 123}], "messages[0].content"),
        ([{"role": "user", "content": "ok"}, {}], "messages[1].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "judge", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": [image("file://../x")]}], "messages[0].content"),
        ([{"role": "user", "content": [image("file:///etc/passwd")]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "user", "content": "a"}, *[{"role": "assistant", "content": "b"}] * 2], "messages"),
    ],
)
def test_ch12_ch18_m12_bad_messages(http: httpx.Client, messages: Any, param: str) -> None:
    refused(post(http, messages=messages), param)


def test_m13_no_connection_is_made_for_a_request(http: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        shown = {"role": "user", "content": [{"type": "text", "text": "a"}, image(url)]}
        assert "text" in refused(post(http, messages=[shown]), "messages[0].content")
        for part in ({"type": "input_image", "image_url": url}, {"type": "input_file", "file_url": url}):
            body = {"model": MODEL, "input": [{"role": "user", "content": [part]}]}
            refused(http.post("/v1/responses", json=body), "input[0].content[0]")
        for model in (url, url.partition("://")[2]):
            assert post(http, model=model).status_code == 404
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_ch13_bad_bodies(http: httpx.Client) -> None:
    bodies = [
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"{",
        b"",
        b"\xff\xfe",
        b"{}x",
        b'{"a": NaN}',
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
    ]
    bodies += [b'{"x": NaN, ', b'{"x": 1e999, "y": ' + b"[" * 100_000, b'{"x": NaN} x']
    bodies += [b'{"model": "\\ud800"}', b"1" * 5000, b'{"a":' * 50_000]
    for body in bodies:
        response = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        refused(response, "a" if body == b'{"a": NaN}' else None)


def test_ch14_content_type(http: httpx.Client) -> None:
    refused(http.post("/v1/chat/completions", data={"model": MODEL}), None)


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


@pytest.mark.parametrize("stream", [False, True])
def test_ch16_unknown_model(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=MESSAGES, stream=stream)  # type: ignore[call-overload]
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_model_is_required(http: httpx.Client) -> None:
    refused(http.post("/v1/chat/completions", json={"messages": MESSAGES}), "model")
    refused(post(http, model=5), "model")


def test_ch17_prefill(client: openai.OpenAI, engine: FakeEngine) -> None:
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "It is"}]
    ask(client, turns, extra_body={"continue_final_message": True, "add_generation_prompt": False})
    assert bytes(engine.requests[-1].prompt_token_ids).decode() == "user: Where?\nassistant: It is"


def test_prefill_needs_an_assistant(http: httpx.Client) -> None:
    refused(post(http, continue_final_message=True), "messages")
    refused(post(http, continue_final_message=True, add_generation_prompt=True), "continue_final_message")


@pytest.mark.parametrize("name", ["tokenize", "chat_template", "add_generation_prompt", "messages", "tools", "self"])
def test_ch19_reserved_template_variables(http: httpx.Client, name: str) -> None:
    refused(post(http, chat_template_kwargs={name: True}), "chat_template_kwargs")


def test_ch20_max_completion_tokens_wins(client: openai.OpenAI) -> None:
    assert ask(client, max_tokens=8, max_completion_tokens=3).usage.completion_tokens == 3


def test_max_tokens(http: httpx.Client, client: openai.OpenAI) -> None:
    refused(post(http, max_tokens=0), "max_tokens")
    refused(post(http, max_completion_tokens=-1), "max_completion_tokens")
    rest = client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0)  # type: ignore[arg-type]
    assert rest.usage is not None
    assert rest.usage.total_tokens == 512


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


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "sound"}}, "response_format"),
        ({"response_format": {}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": 123}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"type": 123}}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"type": "hiccup"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "schema": []}}, "response_format"),
        ({"response_format": {"type": "json_schema", "schema": {}, "json_schema": {}}}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 123}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 123}}}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "hiccup"}}}},
            "response_format",
        ),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {"properties": {"a": {"items": {"type": "x"}}}}}, "guided_json"),
        ({"guided_json": {"anyOf": 5}}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": 5}, "guided_regex"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"choice": "red"}}, "structured_outputs"),
        ({"structured_outputs": {"choice": ["red"], "json_object": {}}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"rhyme": "a"}}, "structured_outputs"),
        ({"regex": "a", "guided_choice": ["b"]}, "regex"),
        ({"guided_json": {"not": {"not": True}} | {"items": []}}, "guided_json"),
    ],
)
def test_ch25_ch26_bad_forms(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    message = refused(post(http, **fields), param)
    if fields == {"response_format": {"type": "json_schema"}}:
        assert "json_schema must be provided" in message


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", ""),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
            "json_schema",
            '{"type": "null"}',
        ),
        ({"response_format": {"type": "json_object", "schema": {"const": 4}}}, "json_schema", '{"const": 4}'),
        ({"response_format": {"type": "json_schema", "schema": {"const": 4}}}, "json_schema", '{"const": 4}'),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", '["a", "b"]'),
        ({"guided_json": {"type": "object"}}, "json_schema", '{"type": "object"}'),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"regex": "a+"}, "regex", "a+"),
        ({"guided_grammar": "start: /a/"}, "grammar", "start: /a/"),
    ],
)
def test_forms_reach_the_engine(
    http: httpx.Client, engine: FakeEngine, fields: dict[str, Any], kind: str, text: str
) -> None:
    assert post(http, **fields).status_code == 200
    form = engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert (form.kind, form.text) == (kind, text)


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


def test_long_bodies_are_understood_too(client: openai.OpenAI, http: httpx.Client) -> None:
    long = [{"role": "user", "content": "x" * 100_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, long)
    assert caught.value.code == "context_length_exceeded"
    refused(post(http, messages=long, zebra="y" * 10_000, n=0), "prompt")
