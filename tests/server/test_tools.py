"""Tool calls and thoughts over HTTP; rows TL* of the behaviours. The model's own calls are in test_default_model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from rustinfer.protocol.address import private_address

from .calls import refused
from .conftest import MODEL, live
from .fake_engine import CONTEXT, TOOL_TEMPLATE, FakeEngine, card

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "$defs": {"city": {"type": "string"}},
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
ASK = [{"role": "user", "content": "Oslo?"}]
OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TIME = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'


@pytest.fixture(scope="module")
def tool_engine() -> Iterator[FakeEngine]:
    with FakeEngine(
        private_address(), ends=True, card=card(chat_template=TOOL_TEMPLATE, context=4 * CONTEXT)
    ) as engine:
        yield engine


@pytest.fixture(scope="module")
def tool_client(tool_engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with live(tool_engine.address) as server:
        server.wait_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            yield client


@pytest.fixture
def tool_http(tool_client: openai.OpenAI) -> httpx.Client:
    return httpx.Client(base_url=str(tool_client.base_url).removesuffix("/v1/"), timeout=60)


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def ask(client: openai.OpenAI, messages: Any = ASK, tools: Any = (WEATHER, NOW), **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, tools=list(tools), temperature=0, **more)


def said(engine: FakeEngine) -> str:
    return bytes(engine.requests[-1].prompt_token_ids).decode()


def put_together(chunks: list[Any]) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Content, calls and finish reasons of a stream, as a client puts them together."""
    content, calls, reasons = "", [], []
    for chunk in chunks:
        (choice,) = chunk.choices
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            if call.id:
                assert call.index == len(calls)
                calls.append({"id": call.id, "name": call.function.name, "arguments": ""})
            calls[call.index]["arguments"] += call.function.arguments or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    return content, calls, reasons


def test_tl5_tl6_parallel_calls_whole_and_streamed(tool_client: openai.OpenAI, tool_engine: FakeEngine) -> None:
    tool_engine.text = f"Let me see.\n{OSLO}\n{TIME}"
    choice = ask(tool_client).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    first, second = choice.message.tool_calls
    assert (first.function.name, json.loads(first.function.arguments)) == ("get_weather", {"city": "Oslo"})
    assert (second.function.name, second.function.arguments) == ("now", "{}")
    assert first.id != second.id
    content, calls, reasons = put_together(list(ask(tool_client, stream=True)))
    assert (content, reasons) == ("Let me see.", ["tool_calls"])
    assert [(c["name"], c["arguments"]) for c in calls] == [("get_weather", '{"city": "Oslo"}'), ("now", "{}")]
    assert len({c["id"] for c in calls}) == 2
    single = ask(tool_client, parallel_tool_calls=False).choices[0].message
    assert [c.function.name for c in single.tool_calls] == ["get_weather"]
    assert len(put_together(list(ask(tool_client, stream=True, parallel_tool_calls=False)))[1]) == 1


def test_a_call_cut_off_is_length(tool_client: openai.OpenAI, tool_engine: FakeEngine) -> None:
    tool_engine.text = OSLO
    choice = ask(tool_client, max_tokens=60).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls[0].function.arguments.startswith('{"ci')


def test_tl3_none_and_no_tools(tool_client: openai.OpenAI, tool_engine: FakeEngine) -> None:
    tool_engine.text = OSLO
    choice = ask(tool_client, tool_choice="none").choices[0]
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert choice.message.content == OSLO
    assert "get_weather" not in said(tool_engine)
    content, calls, reasons = put_together(list(ask(tool_client, tool_choice="none", stream=True)))
    assert (content, calls, reasons) == (OSLO, [], ["stop"])


def test_tl4_null_and_auto(tool_http: httpx.Client, tool_engine: FakeEngine) -> None:
    tool_engine.text = OSLO
    answers = []
    for choice in ({}, {"tool_choice": None}, {"tool_choice": "auto"}):
        body = {"model": MODEL, "messages": ASK, "tools": [WEATHER], "temperature": 0, **choice}
        answers.append(tool_http.post("/v1/chat/completions", json=body).json()["choices"][0])
        assert said(tool_engine).startswith("tools: [")
    assert {a["message"]["tool_calls"][0]["function"]["name"] for a in answers} == {"get_weather"}


@pytest.mark.parametrize("stream", [False, True])
def test_tl1_required(tool_client: openai.OpenAI, tool_engine: FakeEngine, stream: bool) -> None:
    tool_engine.text = '[{"name": "now", "parameters": {}}, {"name": "get_weather", "parameters": {"city": "Oslo"}}]'
    answer = ask(tool_client, tool_choice="required", stream=stream)
    form = tool_engine.requests[-1].sampling.structured_outputs
    assert form is not None
    schema = json.loads(form.text)
    assert schema["minItems"] == 1
    city = schema["items"]["anyOf"][0]["properties"]["parameters"]["properties"]["city"]
    assert city == {"$ref": "#/items/anyOf/0/properties/parameters/$defs/city"}
    if stream:
        content, calls, reasons = put_together(list(answer))
        assert (content, reasons) == ("", ["tool_calls"])
        assert [c["name"] for c in calls] == ["now", "get_weather"]
    else:
        assert answer.choices[0].message.content is None
        assert [c.function.arguments for c in answer.choices[0].message.tool_calls] == ["{}", '{"city": "Oslo"}']
        ask(tool_client, tool_choice="required", parallel_tool_calls=False)
        form = tool_engine.requests[-1].sampling.structured_outputs
        assert form is not None
        assert json.loads(form.text)["maxItems"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tl2_named(tool_client: openai.OpenAI, tool_engine: FakeEngine, stream: bool) -> None:
    """Answered with finish_reason "stop", as OpenAI answers a function that was demanded by name."""
    tool_engine.text = '{"city": "Oslo"}'
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = ask(tool_client, tool_choice=choice, stream=stream)
    form = tool_engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert json.loads(form.text) == WEATHER["function"]["parameters"]  # type: ignore[index]
    if stream:
        content, calls, reasons = put_together(list(answer))
        assert (content, reasons) == ("", ["stop"])
        assert [(c["name"], c["arguments"]) for c in calls] == [("get_weather", '{"city": "Oslo"}')]
    else:
        (call,) = answer.choices[0].message.tool_calls
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (None, "stop")
        assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Oslo"}')


def test_tl7_tl8_results_go_back(tool_client: openai.OpenAI, tool_engine: FakeEngine) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
    ]
    ask(tool_client, turns, tools=[WEATHER])
    expected = 'user: Oslo?\nassistant: <get_weather {"city": "Oslo"}>\ntool: 12 degrees\nassistant: '
    assert said(tool_engine).endswith(expected)


def test_only_the_allowed_tools_are_there(tool_client: openai.OpenAI, tool_engine: FakeEngine) -> None:
    tool_engine.text = "Hi."
    ask(tool_client, tool_choice=allowed("auto", "now"))
    prompt = bytes(tool_engine.requests[-1].prompt_token_ids).decode()
    assert "now" in prompt
    assert "get_weather" not in prompt
    tool_engine.text = '[{"name": "now", "parameters": {}}]'
    (call,) = ask(tool_client, tool_choice=allowed("required", "now")).choices[0].message.tool_calls
    assert call.function.name == "now"
    form = tool_engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert "get_weather" not in form.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": 5}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "browser", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools[0].function.parameters"),
        ({"tools": [NOW, NOW]}, "tools"),
        ({"tools": [NOW] * 129}, "tools"),
        ({"tools": [NOW], "tool_choice": "always"}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": [NOW], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": allowed("auto", "f")}, "tool_choice"),
        ({"tools": [NOW], "tool_choice": allowed("none", "now")}, "tool_choice.allowed_tools.mode"),
        ({"tools": [NOW], "tool_choice": allowed("auto")}, "tool_choice.allowed_tools.tools"),
        ({"tools": [NOW], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"tools": [NOW], "tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 5}}}],
                "tool_choice": "required",
            },
            "tools",
        ),
    ],
)
def test_bad_tools(tool_http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    body = {"model": MODEL, "messages": ASK, **fields}
    refused(tool_http.post("/v1/chat/completions", json=body), param)


def test_a_template_without_tools_has_them_described(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.text, engine.ends = TIME, True
    message = ask(client, tools=[NOW], max_tokens=60).choices[0].message
    assert '{"type": "function", "function": {"name": "now"' in said(engine)
    assert message.tool_calls[0].function.name == "now"


def test_thoughts_are_told_apart(tool_http: httpx.Client, tool_engine: FakeEngine) -> None:
    tool_engine.text = "<think>\nNorth, so cold.\n</think>\n\nCold."
    body = {"model": MODEL, "messages": ASK, "temperature": 0, "stop": ["zzz"]}
    message = tool_http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert message["content"] == "Cold."
    assert message["reasoning"] == message["reasoning_content"] == "North, so cold."
    lines = tool_http.post("/v1/chat/completions", json=body | {"stream": True}).text.split("\n\n")[:-2]
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines]
    assert "".join(d.get("reasoning", "") for d in deltas) == "North, so cold."
    assert all(d.get("reasoning") == d.get("reasoning_content") for d in deltas)
    assert "".join(d.get("content", "") for d in deltas) == "Cold."


def test_ch22_reasoning_effort(tool_http: httpx.Client, http: httpx.Client, tool_engine: FakeEngine) -> None:
    def post(client: httpx.Client, effort: Any) -> httpx.Response:
        body = {"model": MODEL, "messages": ASK, "max_tokens": 2, "reasoning_effort": effort}
        return client.post("/v1/chat/completions", json=body)

    for client in (tool_http, http):
        refused(post(client, "bogus"), "reasoning_effort")
    assert post(tool_http, "high").status_code == 200
    assert said(tool_engine).endswith("high assistant: ")
    assert post(tool_http, "none").status_code == 200
    assert said(tool_engine).endswith("quiet none assistant: ")
    assert post(http, "none").status_code == 200  # what has no thoughts needs none left out
