"""The `openai` client of Python, in any major version: python with_openai.py URL."""

from __future__ import annotations

import json
import sys
import time

import checks
import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=120)
ASKED = [{"role": "user", "content": checks.QUESTION}]


def chat() -> str:
    answer = client.chat.completions.create(model=checks.MODEL, messages=ASKED, temperature=0, max_tokens=16)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    return checks.names_paris(answer.choices[0].message.content)


def stream() -> str:
    options = {"include_usage": True}
    parts = list(
        client.chat.completions.create(
            model=checks.MODEL, messages=ASKED, temperature=0, max_tokens=16, stream=True, stream_options=options
        )
    )
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert parts[-1].usage.completion_tokens > 0
    return f"{len(parts)} events: {checks.names_paris(text)}"


def tools() -> str:
    """A call that must come, whole and streamed, and its result fed back."""
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    common = {"model": checks.MODEL, "tools": [checks.WEATHER], "temperature": 0, "max_tokens": 64}
    answer = client.chat.completions.create(messages=asked, tool_choice="required", **common)
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert set(json.loads(call.function.arguments)) == {"city"}
    named = {"type": "function", "function": {"name": "get_weather"}}
    pieces = client.chat.completions.create(messages=asked, tool_choice=named, stream=True, **common)
    deltas = [d for piece in pieces for choice in piece.choices for d in choice.delta.tool_calls or []]
    assert deltas[0].function.name == "get_weather"
    assert set(json.loads("".join(d.function.arguments or "" for d in deltas))) == {"city"}
    told = {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}
    calls = [{"id": call.id, "type": "function", "function": call.function.model_dump()}]
    history = [*asked, {"role": "assistant", "content": None, "tool_calls": calls}, told]
    after = client.chat.completions.create(model=checks.MODEL, messages=history, max_tokens=16, temperature=0)
    assert after.choices[0].message.content
    return f"{call.function.name}({call.function.arguments}) in {len(deltas)} deltas"


def json_schema() -> str:
    asked = [{"role": "user", "content": checks.ABOUT}]
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": checks.PERSON, "strict": True}}
    answer = client.chat.completions.create(model=checks.MODEL, messages=asked, response_format=form, temperature=0)
    return checks.person(answer.choices[0].message.content)


def responses() -> str:
    """The Responses API: whole, continued from what was stored, streamed, and taken away."""
    common = {"model": checks.MODEL, "temperature": 0, "max_output_tokens": 16}
    first = client.responses.create(input=checks.QUESTION, **common)
    checks.names_paris(first.output_text)
    again = client.responses.create(input="And of Italy?", previous_response_id=first.id, **common)
    assert again.usage.input_tokens > first.usage.input_tokens
    events = list(client.responses.create(input=checks.QUESTION, stream=True, **common))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].type == "response.completed"
    assert deltas == events[-1].response.output_text
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
    except openai.NotFoundError:
        return f"{len(events)} events: {deltas}"
    raise AssertionError("what was deleted is still there")


def parsed() -> str:
    """The client's own helper for typed answers."""
    from pydantic import BaseModel, Field

    class Person(BaseModel):
        name: str = Field(max_length=20)
        age: int

    asked = [{"role": "user", "content": checks.ABOUT}]
    helper = client.beta.chat.completions if openai.__version__.startswith("1.") else client.chat.completions
    answer = helper.parse(model=checks.MODEL, messages=asked, response_format=Person, temperature=0, max_tokens=64)
    return checks.person(answer.choices[0].message.parsed.model_dump())


def embeddings() -> str:
    answer = client.embeddings.create(model=checks.MODEL, input=["a cat", "a kitten", "an invoice"])
    cat, kitten, invoice = (item.embedding for item in answer.data)
    assert dot(cat, kitten) > dot(cat, invoice)
    return f"{len(cat)} numbers; cat and kitten {dot(cat, kitten):.2f}, cat and invoice {dot(cat, invoice):.2f}"


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (norm(a) * norm(b))


def norm(a: list[float]) -> float:
    return sum(x * x for x in a) ** 0.5


def errors() -> str:
    seen = []
    for kind, change in (
        (openai.NotFoundError, {"model": "gpt-4"}),
        (openai.BadRequestError, {"temperature": -1}),
        (openai.BadRequestError, {"max_tokens": 10**6, "stream": True}),
    ):
        try:
            client.chat.completions.create(**{"model": checks.MODEL, "messages": ASKED, **change})
        except kind as error:
            seen.append(f"{error.status_code} {error.param} {error.code}")
        else:
            raise AssertionError(f"{change} was accepted")
    return ", ".join(seen)


def cancel() -> str:
    """Close a stream after its first tokens: the engine is free again at once."""
    answer = client.chat.completions.create(
        model=checks.MODEL, messages=ASKED, max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    )
    for count, _ in enumerate(answer):
        if count == 3:
            break
    assert active() == 1
    answer.close()
    start = time.perf_counter()
    while (running := active()) and time.perf_counter() - start < 10:
        time.sleep(0.02)
    assert not running, f"{running} still active"
    return f"free after {time.perf_counter() - start:.2f} s"


def active() -> float:
    text = client._client.get(f"{sys.argv[1]}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("rustinfer_requests_active "))


checks.run(
    {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "JSON schema": json_schema,
        "parse": parsed,
        "responses": responses,
        "embeddings": embeddings,
        "errors": errors,
        "cancel": cancel,
    }
)
