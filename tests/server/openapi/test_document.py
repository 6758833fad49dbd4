"""The OpenAPI document: real answers are what it says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai.types as types
import pytest
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from rustinfer.server.routes import document

from ..conftest import MODEL
from ..fake_engine import FakeEngine

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": 5}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
FORMED = {"type": "json_schema", "json_schema": {"schema": {}}}
TEXT = {"model": MODEL, "prompt": "a", "max_tokens": 5}
TAGGED = {
    "type": "structural_tag",
    "structures": [{"begin": "<f>", "schema": {"const": 1}, "end": "</f>"}],
    "triggers": ["<f>"],
}
FORMED_TEXT = {"text": {"format": {"type": "json_object"}}}
RESPONSE = {"model": MODEL, "input": "a", "max_output_tokens": 5}


def validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document()["components"]})


def complete(schema: Any) -> Draft202012Validator:
    """Of answers: none has a field that the document does not name."""
    return Draft202012Validator({**schema, "components": closed(document()["components"])})


def closed(part: Any) -> Any:
    """Objects of the document that name their properties may have no others."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    ends = {"additionalProperties": False} if part.get("type") == "object" and "properties" in part else {}
    return ends | {name: closed(each) for name, each in part.items()}


def check(http: httpx.Client, method: str, path: str, body: Any = None, template: str | None = None) -> Any:
    operation = document()["paths"][template or path][method.lower()]
    if body is not None:
        validator(operation["requestBody"]["content"]["application/json"]["schema"]).validate(body)
    answer = http.request(method, path, json=body)
    kind = "default" if answer.status_code >= 400 else "200"
    content = operation["responses"][kind]["content"]
    media = answer.headers["content-type"].partition(";")[0]
    assert media in content
    if media == "application/json":
        complete(content[media]["schema"]).validate(answer.json())
        return answer.json()
    return answer.text


def test_the_document_is_served_and_names_nothing_of_the_inside(http: httpx.Client) -> None:
    served = http.get("/openapi.json").json()
    assert served == json.loads(json.dumps(document()))
    assert served["openapi"].startswith("3.1")
    assert not any("__" in name or "." in name for name in served["components"]["schemas"])
    assert served["paths"]["/health"]["get"]["security"] == []
    ids = [o["operationId"] for methods in served["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))
    for schema in served["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/tokenizer_info",
        "/v1/ops",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/version",
        "/openapi.json",
        "/",
    ],
)
def test_facts(http: httpx.Client, path: str) -> None:
    check(http, "GET", path)


def test_one_model_and_an_error(http: httpx.Client) -> None:
    check(http, "GET", f"/v1/models/{MODEL}", template="/v1/models/{id}")
    assert "error" in check(http, "GET", "/v1/models/none", template="/v1/models/{id}")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"logprobs": True, "top_logprobs": 2},
        {"n": 2, "service_tier": "auto"},
        {"prompt_logprobs": 1},
        {"tools": TOOLS},
    ],
)
def test_ch2_chat(http: httpx.Client, engine: FakeEngine, more: dict[str, Any]) -> None:
    if "tools" in more:
        engine.text, engine.ends, more = CALL, True, more | {"max_tokens": 100}
    whole = check(http, "POST", "/v1/chat/completions", CHAT | {"temperature": 0} | more)
    ChatCompletion.model_validate(whole, strict=False)
    assert {"finish_reason", "index", "message", "logprobs"} <= whole["choices"][0].keys()
    if "prompt_logprobs" in more:
        return
    assert ("tools" in more) == bool(whole["choices"][0]["message"].get("tool_calls"))
    body = CHAT | {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}} | more
    chunk = complete({"$ref": "#/components/schemas/ChatChunk"})
    for line in check(http, "POST", "/v1/chat/completions", body).split("\n\n")[:-2]:
        event = json.loads(line.removeprefix("data: "))
        chunk.validate(event)
        ChatCompletionChunk.model_validate(event)


@pytest.mark.parametrize("more", [{}, {"logprobs": 2, "echo": True}, {"n": 2}, {"prompt_logprobs": 1}])
def test_completions(http: httpx.Client, more: dict[str, Any]) -> None:
    whole = check(http, "POST", "/v1/completions", TEXT | more)
    if "echo" not in more:  # the first token's null, as OpenAI sends it, is missing in the client's types
        types.Completion.model_validate(whole)
    if "prompt_logprobs" not in more:
        chunk = complete({"$ref": "#/components/schemas/TextCompletion"})
        for line in check(http, "POST", "/v1/completions", TEXT | {"stream": True} | more).split("\n\n")[:-1]:
            if "[DONE]" not in line:
                chunk.validate(json.loads(line.removeprefix("data: ")))


def test_responses(http: httpx.Client, engine: FakeEngine) -> None:
    check(http, "POST", "/v1/responses", RESPONSE | {"user": "me", "reasoning": {"effort": "low"}, **FORMED_TEXT})
    made = check(http, "POST", "/v1/responses", RESPONSE)
    types.responses.Response.model_validate(made)
    path, template = f"/v1/responses/{made['id']}", "/v1/responses/{id}"
    assert check(http, "GET", path, template=template) == made
    check(http, "GET", f"{path}/input_items", template=f"{template}/input_items")
    assert "error" in check(http, "POST", f"{path}/cancel", template=f"{template}/cancel")
    check(http, "DELETE", path, template=template)
    assert "error" in check(http, "GET", path, template=template)
    check(http, "POST", "/v1/responses/input_tokens", RESPONSE)
    check(http, "POST", "/v1/responses", RESPONSE | {"stream": True})


def test_tokens(http: httpx.Client) -> None:
    for prefix in ("", "/v1"):
        check(http, "POST", f"{prefix}/tokenize", {"prompt": "a", "return_token_strs": True})
        check(http, "POST", f"{prefix}/detokenize", {"tokens": [65]})
    check(http, "POST", "/v1/chat/completions/input_tokens", CHAT)


@pytest.mark.parametrize(
    ("model", "field", "fine", "wrong"),
    [
        ("CompletionRequest", "prompt", ["a", ["a"], [1], [[1], [2]]], ["", [], [[]], 5, [1.5]]),
        ("CompletionRequest", "stop", ["a", ["a"] * 4, None], ["", ["a"] * 5, 5]),
        ("CompletionRequest", "logit_bias", [{"5": -100}], [{"x": 1}, {"5": 101}, []]),
        ("CompletionRequest", "top_p", [0.5, None], [1.5, "x"]),
        (
            "ChatRequest",
            "response_format",
            [{"type": "text"}, {"type": "json_object"}, {"type": "json_object", "schema": {}}, FORMED, TAGGED],
            [
                TAGGED | {"triggers": []},
                {"type": "structural_tag"},
                {},
                {"type": "json_schema"},
                {"type": "json_object", "schema": 5},
                FORMED | {"schema": {}},
            ],
        ),
        ("ChatRequest", "tool_choice", ["auto", {"type": "function", "function": {"name": "f"}}], ["x", 5]),
        ("ChatRequest", "messages", [[{"role": "user", "content": [{"type": "text", "text": "a"}]}]], [[], [{}]]),
    ],
)
def test_what_is_said_of_a_field_is_what_is_checked(
    http: httpx.Client, model: str, field: str, fine: list[Any], wrong: list[Any]
) -> None:
    path, base = ("/v1/completions", TEXT) if model == "CompletionRequest" else ("/v1/chat/completions", CHAT)
    of_field = validator({"$ref": f"#/components/schemas/{model}"})
    for value in fine + wrong:
        tools = {"tools": TOOLS} if field == "tool_choice" else {}
        body = base | tools | {field: value}
        status = http.post(path, json=body).status_code
        assert (status == 200) == (value in fine) == of_field.is_valid(body), value
