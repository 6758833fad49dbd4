"""Conversations, and bodies that hold none; rows CH11 to CH14, M12 and M13 of the behaviours."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import openai
import pytest

from .calls import refused
from .chats import MESSAGES, PROMPT, ask, image, post
from .conftest import MODEL
from .fake_engine import FakeEngine


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


@pytest.mark.parametrize("packing", ["gzip", "identity"])
def test_a_packed_body_is_told_of_as_one(http: httpx.Client, packing: str) -> None:
    headers = {"content-encoding": packing, "content-type": "application/json"}
    response = http.post("/v1/chat/completions", content=b"\x1f\x8b", headers=headers)
    assert ("Content-Encoding 'gzip' is not supported" in refused(response, None)) == (packing == "gzip")
