"""POST /v1/responses; row L9 of the behaviours."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from ..calls import refused
from ..conftest import MODEL, live, wait_for
from ..fake_engine import TEXT, FakeEngine
from ..lifecycle import failing

OSLO = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'
IMAGE = {"type": "input_image", "image_url": "http://127.0.0.1:1/"}
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}


def ask(client: openai.OpenAI, input: Any = "Where?", **more: Any) -> Any:
    return client.responses.create(model=MODEL, input=input, **{"temperature": 0, "max_output_tokens": 40, **more})


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/responses", json={"model": MODEL, "input": "Where?", "max_output_tokens": 8, **fields})


def said(engine: FakeEngine) -> str:
    return bytes(engine.requests[-1].prompt_token_ids).decode()


def test_l9_create(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, "In Oslo."
    answer = ask(client, instructions="Be brief.")
    assert answer.id.startswith("resp_")
    assert (answer.object, answer.status, answer.model, answer.error) == ("response", "completed", MODEL, None)
    (item,) = answer.output
    assert item.id.startswith("msg_")
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert answer.output_text == "In Oslo."
    assert said(engine) == "system: Be brief.\nuser: Where?\nassistant: "
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (42, 9, 51)
    assert answer.usage.input_tokens_details.cached_tokens == 4
    assert answer.temperature == 0
    penalised = ask(client, extra_body={"presence_penalty": 0.5, "frequency_penalty": -0.5})
    assert (penalised.presence_penalty, penalised.frequency_penalty) == (0.5, -0.5)


def test_cut_off_is_incomplete(client: openai.OpenAI) -> None:
    answer = ask(client, max_output_tokens=5)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output_text == TEXT[:5]
    assert answer.output[0].status == "incomplete"


def test_l9_stream(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, "In Oslo, “naturally”."
    events = list(ask(client, stream=True))
    kinds = [e.type for e in events]
    head = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    tail = [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert kinds[:4] == head
    assert kinds[-4:] == tail
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert [e.sequence_number for e in events] == list(range(len(events)))
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text == events[-4].text == "In Oslo, “naturally”."
    assert events[0].response.status == "in_progress"
    assert len({e.item_id for e in events if hasattr(e, "item_id")}) == 1
    assert events[-1].response.usage.output_tokens == len(deltas.encode()) + 1


def test_events_have_their_names(http: httpx.Client) -> None:
    text = post(http, stream=True).text
    assert "[DONE]" not in text
    for event in filter(None, text.split("\n\n")):
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_calls_and_their_results(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, f"Let me see. {OSLO}"
    first = ask(client, "Oslo?", tools=[TOOL], max_output_tokens=100)
    message, call = first.output
    assert (message.type, first.output_text) == ("message", "Let me see.")
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city": "Oslo"}')
    assert first.tools[0].name == "get_weather"
    events = list(ask(client, "Oslo?", tools=[TOOL], max_output_tokens=100, stream=True))
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert "".join(deltas) == done.arguments == call.arguments
    assert [i.type for i in events[-1].response.output] == ["message", "function_call"]
    engine.text = "Cold."
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "-3"}
    second = ask(client, [result], previous_response_id=first.id)
    assert second.output_text == "Cold."
    assert f"assistant: Let me see.\n{OSLO[:11]}" in said(engine)
    assert "<tool_response>\n-3\n</tool_response>" in said(engine)
    by_hand = [{"role": "user", "content": "Oslo?"}, *(i.model_dump() for i in first.output), result]
    ask(client, by_hand)
    assert "<tool_response>\n-3" in said(engine)


def test_forced_tools_and_forms(client: openai.OpenAI, engine: FakeEngine) -> None:
    ask(client, tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"})
    form = engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert json.loads(form.text) == {"type": "object"}
    other = {"type": "function", "name": "now"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}
    answer = ask(client, tools=[TOOL, other], tool_choice=allowed)
    form = engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert "get_weather" not in form.text
    assert answer.tool_choice.model_dump() == allowed
    schema = {"type": "json_schema", "name": "x", "schema": {"type": "null"}, "strict": True}
    answer = ask(client, text={"format": schema})
    form = engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert (form.kind, form.text) == ("json_schema", '{"type": "null"}')
    assert answer.text.format.model_dump(by_alias=True, exclude_none=True) == schema


def test_conversations_go_on(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, "Oslo."
    first = ask(client, instructions="Be brief.")
    second = ask(client, "And then?", previous_response_id=first.id)
    assert said(engine) == "user: Where?\nassistant: Oslo.\nuser: And then?\nassistant: "
    third = list(ask(client, "Why?", previous_response_id=second.id, stream=True))[-1].response
    assert said(engine).count("Oslo.") == 2
    assert client.responses.retrieve(third.id).output_text == "Oslo."
    assert client.responses.retrieve(first.id).model_dump() == first.model_dump()
    listed = client.responses.input_items.list(second.id, order="asc").data
    assert [i.content[0].text for i in listed] == ["Where?", "Oslo.", "And then?"]  # type: ignore[union-attr]


def test_what_was_said_can_be_referred_to(client: openai.OpenAI, http: httpx.Client, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, f"Let me see. {OSLO}"
    first = ask(client, "Oslo?", tools=[TOOL], max_output_tokens=100)
    message, call = ({"type": "item_reference", "id": item.id} for item in first.output)
    result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "-3"}
    ask(client, [{"role": "user", "content": "Oslo?"}, message, {"id": call["id"]}, result])
    assert said(engine).startswith(f"user: Oslo?\nassistant: Let me see.\n{OSLO[:11]}")
    refused(post(http, input=[message, message]), "input[1].id")
    unstored = ask(client, store=False).output[0].id
    refused(post(http, input=[{"type": "item_reference", "id": unstored}]), "input[0].id")


def test_input_items_come_in_pages(client: openai.OpenAI, http: httpx.Client, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, f"Let me see. {OSLO}"
    first = ask(client, "Oslo?", tools=[TOOL], max_output_tokens=100)
    result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "-3"}
    second = ask(client, [result], previous_response_id=first.id)
    listed = client.responses.input_items.list(second.id)
    assert [i.type for i in listed] == ["function_call_output", "function_call", "message", "message"]
    assert [i.type for i in client.responses.input_items.list(first.id)] == ["message"]
    pages = client.responses.input_items.list(second.id, limit=3, order="asc")
    assert [i.role for i in pages.data if i.type == "message"] == ["user", "assistant"]
    assert pages.has_more
    assert [i.id for i in pages] == [i.id for i in reversed(listed.data)]
    for query in ("order=up", "limit=0", "limit=101", "limit=x", "after=msg_9"):
        refused(http.get(f"/v1/responses/{second.id}/input_items?{query}"), query.partition("=")[0])


def test_l9_unknown_previous_response(http: httpx.Client) -> None:
    for stream in (False, True):
        response = post(http, previous_response_id="bad", stream=stream)
        refused(response, "previous_response_id")
        assert response.json()["error"]["code"] == "previous_response_not_found"


def test_retrieve_delete_and_what_is_not_stored(client: openai.OpenAI, http: httpx.Client) -> None:
    answer, unstored = ask(client), ask(client, store=False)
    assert http.delete(f"/v1/responses/{answer.id}").json() == {"id": answer.id, "object": "response", "deleted": True}
    for id in (answer.id, unstored.id, "resp_x"):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(id)
        assert http.delete(f"/v1/responses/{id}").status_code == 404
        assert http.post(f"/v1/responses/{id}/cancel").status_code == 404


def test_background_and_cancel(client: openai.OpenAI, http: httpx.Client, engine: FakeEngine) -> None:
    engine.delay = 0.01
    answer = ask(client, background=True, max_output_tokens=10)
    assert (answer.status, answer.background) == ("in_progress", True)
    wait_for(lambda: client.responses.retrieve(answer.id).status == "incomplete")
    assert client.responses.retrieve(answer.id).output_text == TEXT[:10]
    assert client.responses.cancel(answer.id).status == "incomplete"  # it came a moment too late
    engine.hold = 50
    long = ask(client, background=True, max_output_tokens=400)
    refused(post(http, previous_response_id=long.id), "previous_response_id")
    assert client.responses.cancel(long.id).status == "cancelled"
    wait_for(lambda: not engine.running)
    assert client.responses.retrieve(long.id).status == "cancelled"
    refused(http.post(f"/v1/responses/{ask(client).id}/cancel"), "response_id")


def test_what_is_deleted_while_it_runs_ends_and_stays_away(http: httpx.Client, engine: FakeEngine) -> None:
    engine.hold = 5
    id = post(http, background=True, max_output_tokens=30).json()["id"]
    wait_for(lambda: engine.running)
    assert http.delete(f"/v1/responses/{id}").json()["deleted"]
    wait_for(lambda: not engine.running)
    engine.hold = None
    post(http, max_output_tokens=30)  # as long as the other would have taken
    assert http.get(f"/v1/responses/{id}").status_code == 404


def test_failure_in_a_stream(http: httpx.Client, engine: FakeEngine) -> None:
    text = failing(http, engine, "/v1/responses", {"model": MODEL, "input": "Where?", "stream": True})
    events = [json.loads(e.split("\ndata: ")[1]) for e in text.split("\n\n") if e]
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["message"] == "Internal server error"
    whole = post(http)
    assert whole.status_code == 500
    answer = post(http, background=True).json()
    wait_for(lambda: http.get(f"/v1/responses/{answer['id']}").json()["status"] == "failed")


def test_logprobs(client: openai.OpenAI, http: httpx.Client) -> None:
    answer = ask(client, include=["message.output_text.logprobs"], top_logprobs=2)
    found = answer.output[0].content[0].logprobs
    assert "".join(t.token for t in found) == answer.output_text
    assert all(len(t.top_logprobs) == 2 for t in found)
    refused(post(http, top_logprobs=21), "top_logprobs")


def test_sampling_reaches_the_engine(http: httpx.Client, engine: FakeEngine) -> None:
    response = post(http, temperature=0.5, top_p=0.8, top_k=3, seed=9, stop=["x"], zebra=1, metadata={"a": "b"})
    got = engine.requests[-1].sampling
    assert (got.temperature, got.top_p, got.top_k, got.seed, got.stop, got.max_tokens) == (0.5, 0.8, 3, 9, ("x",), 8)
    assert response.headers["x-ignored-params"] == "zebra"
    assert response.json()["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input"),
        ({"input": [{"role": "judge", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"type": {}, "role": "user", "content": "x"}]}, "input[0].type"),
        ({"input": [{"type": "", "role": "user", "content": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**6}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "sound"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 1}}}}, "text"),
        ({"reasoning": {"effort": "bogus"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["web_search_call.action.sources"]}, "include[0]"),
        ({"store": "yes"}, "store"),
        ({"background": True, "stream": True}, "background"),
        ({"background": True, "store": False}, "background"),
        ({"stream_options": {}}, "stream_options"),
        ({"conversation": "c"}, "conversation"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"n": 2}, "n"),
        ({"top_k": "x"}, "top_k"),
    ],
)  # fmt: skip
def test_bad_values_are_named(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    response = post(http, **fields)
    assert response.status_code == 400, response.text
    assert str(response.json()["error"]["param"]).startswith(param), response.text


def test_a_member_of_a_union_is_named_as_the_body_has_it(http: httpx.Client) -> None:
    refused(post(http, input=5), "input")
    refused(post(http, input=[5]), "input[0]")
    refused(post(http, input=["x", 5]), "input[0]")
    assert "at least 1 item" in post(http, input=[]).json()["error"]["message"]


def test_nobody_sees_another_keys_responses(address: str, engine: FakeEngine) -> None:
    with live(address, api_key=("one", "two")) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        server.wait_ready()
        mine, yours = {"authorization": "Bearer one"}, {"x-api-key": "two"}
        made = http.post("/v1/responses", json={"model": MODEL, "input": "a"}, headers=mine).json()
        assert http.get(f"/v1/responses/{made['id']}", headers=mine).status_code == 200
        assert http.get(f"/v1/responses/{made['id']}", headers={"x-api-key": "one"}).status_code == 200
        assert http.get(f"/v1/responses/{made['id']}", headers=yours).status_code == 404
        asked = {"model": MODEL, "input": "a", "previous_response_id": made["id"]}
        assert http.post("/v1/responses", json=asked, headers=yours).status_code == 400


@pytest.mark.parametrize(("tokens", "slow"), [(8, False), (200, True)])
def test_a_long_end_of_a_stream_is_written_in_a_thread(
    http: httpx.Client, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tokens: int, slow: bool
) -> None:
    """Log-probabilities are told with the text, its part, its item and the response: each time all of them."""
    calls: list[str] = []

    async def to_thread(call: Any, *args: Any) -> Any:
        calls.append(call.__name__)
        return call(*args)

    engine.text = "a"
    monkeypatch.setattr("rustinfer.server.sse.asyncio.to_thread", to_thread)
    asked = {"max_output_tokens": tokens, "top_logprobs": 20, "include": ["message.output_text.logprobs"]}
    events = [json.loads(e.split("\ndata: ")[1]) for e in post(http, stream=True, **asked).text.split("\n\n") if e]
    ends = [name for name in calls if name in ("events", "closing")]
    assert ends == (["events", "closing"] if slow else [])
    parts = [e["part"] for e in events if e["type"] == "response.content_part.done"]
    assert len(parts[0]["logprobs"]) == tokens
    assert events[-1]["response"]["output"][0]["content"] == parts


def test_a_stored_response_is_not_streamed_again(http: httpx.Client) -> None:
    made = post(http).json()
    refused(http.get(f"/v1/responses/{made['id']}?stream=true"), "stream")
    assert http.get(f"/v1/responses/{made['id']}?stream=false").json()["id"] == made["id"]
