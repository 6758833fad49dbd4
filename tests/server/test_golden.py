"""Good requests against OpenAI's own types, which know nothing of ours: each answer is one of them, strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from pydantic import BaseModel, TypeAdapter, ValidationError

from rustinfer.protocol.address import private_address

from .conftest import client_of
from .fake_engine import CONTEXT, TOOL_TEMPLATE, FakeEngine, card
from .golden import REQUESTS

OURS = {
    *("reasoning", "reasoning_content", "stop_reason", "prompt_logprobs", "service_tier", "store", "name"),
    *("presence_penalty", "frequency_penalty"),
}
"""What answers have beyond these types: the first four as vLLM's have; the penalties as Open Responses demands them;
OpenAI's own answers and its published schema have `store`, and the `name` of a call whose arguments are complete."""
WHOLE: dict[str, Any] = {
    "/v1/chat/completions": ChatCompletion,
    "/v1/completions": Completion,
    "/v1/responses": Response,
    "/v1/embeddings": CreateEmbeddingResponse,
    "/v1/responses/input_tokens": InputTokenCountResponse,
}
EVENT: dict[str, Any] = {
    "/v1/chat/completions": ChatCompletionChunk,
    "/v1/completions": Completion,
    "/v1/responses": ResponseStreamEvent,
}


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine(private_address(), card=card(chat_template=TOOL_TEMPLATE, context=2 * CONTEXT)) as engine:
        yield engine


@pytest.fixture(scope="module")
def http(engine: FakeEngine) -> Iterator[httpx.Client]:
    with client_of(engine.address) as http:
        yield http


def strictly(kind: Any, value: Any) -> None:
    """Raises where `value` is not one of `kind`, to the type of each field, or has fields that neither knows."""
    made = TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    assert set(unknown(made)) <= OURS


def unknown(value: Any) -> Iterator[str]:
    """Names of fields anywhere in it that its type does not have."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        value = [getattr(value, name) for name in type(value).model_fields]
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from unknown(part)


def as_typed(path: str, body: dict[str, Any], value: Any) -> Any:
    """Where the types are narrower than the API is, which gives a prompt's first token no logprob, a chunk before the
    last no reason to end, and vectors in base64."""
    if path == "/v1/completions" and body.get("stream"):
        value["choices"] = [{**c, "finish_reason": c["finish_reason"] or "stop"} for c in value["choices"]]
    if path == "/v1/completions" and body.get("echo") and value["choices"]:
        scores = value["choices"][0]["logprobs"]
        for name in ("token_logprobs", "top_logprobs") if scores else ():
            assert scores[name][0] is None
            scores[name] = scores[name][1:]
    if body.get("encoding_format") == "base64":
        assert all(isinstance(each["embedding"], str) for each in value["data"])
        value = {**value, "data": [{**each, "embedding": []} for each in value["data"]]}
    return value


@pytest.mark.parametrize(("path", "body"), REQUESTS, ids=[f"{path[4:]} {n}" for n, (path, _) in enumerate(REQUESTS)])
def test_s5_ch2_every_answer_is_one_of_openais(
    http: httpx.Client, engine: FakeEngine, path: str, body: dict[str, Any]
) -> None:
    """CH2: whole or streamed."""
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    if not body.get("stream"):
        if path in WHOLE:
            strictly(WHOLE[path], as_typed(path, body, response.json()))
        return
    events = [event.partition("data: ")[2] for event in response.text.split("\n\n") if event]
    assert path == "/v1/responses" or events.pop() == "[DONE]"
    assert events
    for event in events:
        strictly(EVENT[path], as_typed(path, body, json.loads(event)))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "f"}}])
def test_s5_answers_with_calls_and_thoughts(http: httpx.Client, engine: FakeEngine, stream: bool, choice: Any) -> None:
    arguments = '{"city": "Oslo"}'
    call = f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>'
    engine.ends, engine.text = True, f"<think>hm</think>So: {call}"
    if choice != "auto":
        engine.text = f'[{{"name": "f", "parameters": {arguments}}}]' if choice == "required" else arguments
    (tools,) = {json.dumps(b["tools"]) for p, b in REQUESTS if p == "/v1/chat/completions" and "tools" in b}
    (own,) = {json.dumps(b["tools"]) for p, b in REQUESTS if p == "/v1/responses" and "tools" in b}
    messages = [{"role": "user", "content": "a"}]
    named = choice if isinstance(choice, str) else {"type": "function", "name": "f"}
    more = {"model": "acme/bytes", "temperature": 0, "stream": stream}
    for path, body in (
        ("/v1/chat/completions", {"messages": messages, "tools": json.loads(tools), "tool_choice": choice}),
        ("/v1/responses", {"input": "a", "tools": json.loads(own), "tool_choice": named}),
    ):
        response = http.post(path, json=body | more)
        assert '"name":"f"' in response.text
        if not stream:
            strictly(WHOLE[path], response.json())
            continue
        events = [event.partition("data: ")[2] for event in response.text.split("\n\n") if event]
        for event in events[: -1 if path == "/v1/chat/completions" else None]:
            strictly(EVENT[path], json.loads(event))


@pytest.mark.parametrize(
    ("field", "value"), [("created", "now"), ("object", "chat"), ("choices", None), ("usage", {}), ("zebra", 1)]
)
def test_the_types_refuse_what_is_wrong(http: httpx.Client, engine: FakeEngine, field: str, value: Any) -> None:
    path, body = REQUESTS[0]
    whole = http.post(path, json=body).json()
    strictly(ChatCompletion, whole)
    with pytest.raises((ValidationError, AssertionError)):
        strictly(ChatCompletion, whole | {field: value})
