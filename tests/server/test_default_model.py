"""What only a model can show: each parameter changes the answer, and grammars hold. One live server for all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from ..conftest import Running
from .calls import refused

pytestmark = pytest.mark.model
QUESTION = [{"role": "user", "content": "What is the weather like in Oslo today?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "maxLength": 12}},
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": CITY}}
NOW = {"type": "function", "function": {"name": "now"}}


@pytest.fixture(scope="module")
def talk(running_server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running_server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
def model(talk: openai.OpenAI) -> str:
    return talk.models.list().data[0].id


@pytest.fixture
def plain(running_server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_server.url, timeout=120) as client:
        yield client


def complete(talk: openai.OpenAI, model: str, prompt: Any = "The capital of France is", **more: Any) -> Any:
    return talk.completions.create(model=model, prompt=prompt, **{"temperature": 0, "max_tokens": 8, **more})


def say(talk: openai.OpenAI, model: str, messages: Any = QUESTION, **more: Any) -> Any:
    return talk.chat.completions.create(model=model, messages=messages, **{"max_tokens": 60, "temperature": 0, **more})


def ids(plain: httpx.Client, text: str) -> list[int]:
    found: list[int] = plain.post("/tokenize", json={"prompt": text}).json()["tokens"]
    return found


HOT = {"temperature": 1.5, "seed": 3}
CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, HOT),
    (HOT, {"seed": 4}),
    (HOT, {"top_k": 1}),
    (HOT, {"top_p": 0.05}),
    (HOT, {"min_p": 0.9}),
    (HOT, {"typical_p": 0.05}),
    ({"max_tokens": 40}, {"presence_penalty": 2.0}),
    ({"max_tokens": 40}, {"frequency_penalty": 2.0}),
    ({"max_tokens": 40}, {"repetition_penalty": 3.0}),
    ({}, {"max_tokens": 3}),
    ({}, {"stop": ["Paris"]}),
    ({}, {"bad_words": ["Paris", " Paris"]}),
    ({}, {"guided_choice": ["London", "Rome"]}),
    ({}, {"guided_regex": "[0-9]{3}"}),
    ({}, {"guided_grammar": 'start: "x" /[yz]+/'}),
    ({}, {"structured_outputs": {"regex": "[A-Z]{4}"}}),
    ({}, {"echo": True}),
    ({}, {"suffix": None, "n": 2}),
]


@pytest.mark.parametrize(("base", "change"), CHANGES, ids=lambda v: next(iter(v), "greedy"))
def test_each_parameter_changes_the_answer(
    plain: httpx.Client, model: str, base: dict[str, Any], change: dict[str, Any]
) -> None:
    def said(fields: dict[str, Any]) -> list[str]:
        body = {"model": model, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8, **fields}
        return [c["text"] for c in plain.post("/v1/completions", json=body).json()["choices"]]

    before = said(base)
    assert said(base) == before
    assert said(base | change) != before


def test_c25_logit_bias_and_allowed_tokens(talk: openai.OpenAI, plain: httpx.Client, model: str) -> None:
    said = complete(talk, model, max_tokens=64).choices[0].text
    words = {t for word in said.split()[:30] for t in (ids(plain, " " + word)[0], ids(plain, word)[0])}
    bias = {str(t): -100 for t in words}
    other = complete(talk, model, max_tokens=64, logit_bias=bias).choices[0]
    assert not words & set(ids(plain, other.text)[1:])
    (seven,) = ids(plain, "7")
    only = complete(talk, model, extra_body={"allowed_token_ids": [seven]}, max_tokens=5)
    assert only.choices[0].text == "77777"
    pushed = complete(talk, model, logit_bias={str(seven): 100}, max_tokens=3)
    assert pushed.choices[0].text == "777"


def test_ends(talk: openai.OpenAI, plain: httpx.Client, model: str) -> None:
    whole = say(talk, model, [{"role": "user", "content": "Say: yes"}], max_tokens=200)
    assert whole.choices[0].finish_reason == "stop"
    more = {"ignore_eos": True, "skip_special_tokens": False}
    on = say(talk, model, [{"role": "user", "content": "Say: yes"}], max_tokens=250, extra_body=more)
    assert on.usage.completion_tokens == 250
    assert "<|im_end|>" in on.choices[0].message.content
    (paris,) = ids(plain, " Paris")
    stopped = complete(talk, model, extra_body={"stop_token_ids": [paris]})
    assert stopped.choices[0].finish_reason == "stop"
    assert "Paris" not in stopped.choices[0].text
    late = complete(talk, model, extra_body={"stop_token_ids": [paris], "min_tokens": 5})
    assert late.usage.completion_tokens >= 5
    kept = complete(talk, model, stop=["Paris"], extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].text.endswith("Paris")


def test_c15_loglikelihood_adds_up(talk: openai.OpenAI, model: str) -> None:
    scored = complete(talk, model, "The capital of France is Paris", echo=True, logprobs=1, max_tokens=0)
    more = complete(talk, model, "The capital of France is Paris", echo=True, logprobs=1, max_tokens=1)
    first = scored.choices[0].logprobs.token_logprobs
    assert more.choices[0].logprobs.token_logprobs[:-1] == pytest.approx([None, *first[1:]], abs=1e-2)
    drawn = complete(talk, model, "The capital of France is", logprobs=1, max_tokens=1)
    assert drawn.choices[0].text == " Paris"
    assert first[-1] == pytest.approx(drawn.choices[0].logprobs.token_logprobs[0], abs=2e-2)


def test_best_of_is_the_likeliest(talk: openai.OpenAI, model: str) -> None:
    asked = {"temperature": 1.2, "seed": 5, "logprobs": 0, "max_tokens": 6}
    every = complete(talk, model, n=5, **asked).choices
    best = complete(talk, model, best_of=5, **asked).choices[0]
    likely = max(every, key=lambda c: sum(c.logprobs.token_logprobs))
    assert best.text == likely.text


@pytest.mark.parametrize("n", range(2))
def test_ch23_json_object(talk: openai.OpenAI, model: str, n: int) -> None:
    answers = say(
        talk, model, temperature=1, seed=n, n=10, max_tokens=80, response_format={"type": "json_object"}
    ).choices
    done = [json.loads(c.message.content) for c in answers if c.finish_reason == "stop"]
    assert len(done) >= 5
    assert all(isinstance(value, dict) for value in done)


def test_ch24_json_schema(talk: openai.OpenAI, model: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answers = say(talk, model, temperature=1, seed=1, n=8, response_format=form).choices
    for choice in answers:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), CITY)
    chunks = list(say(talk, model, response_format=form, stream=True))
    jsonschema.validate(json.loads("".join(c.choices[0].delta.content or "" for c in chunks)), CITY)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_regex": "[.*"}, "guided_regex"),
        ({"guided_grammar": "start: ("}, "guided_grammar"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}}},
            "response_format",
        ),
        ({"structured_outputs": {"regex": "(a{1000}){1000}"}}, "structured_outputs"),
    ],
)
def test_ch27_forms_that_are_none(
    plain: httpx.Client, model: str, fields: dict[str, Any], param: str, stream: bool
) -> None:
    body = {"model": model, "messages": QUESTION, "stream": stream, "max_tokens": 5, **fields}
    refused(plain.post("/v1/chat/completions", json=body), param)


def test_ch28_choices_have_finite_logprobs(talk: openai.OpenAI, model: str) -> None:
    asked = {"logprobs": True, "top_logprobs": 5, "extra_body": {"structured_outputs": {"choice": ["red", "blue"]}}}
    choice = say(talk, model, **asked).choices[0]
    assert choice.message.content in ("red", "blue")
    assert all(t.logprob >= -9999 for token in choice.logprobs.content for t in (token, *token.top_logprobs))


def test_ch29_cached_tokens(talk: openai.OpenAI, model: str) -> None:
    long = [{"role": "user", "content": "Tell me about the river. " * 20}]
    say(talk, model, long, max_tokens=1)
    usage = say(talk, model, long, max_tokens=1).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens - 1
    salted = say(talk, model, long, max_tokens=1, extra_body={"cache_salt": "other"}).usage
    assert salted.prompt_tokens_details.cached_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
def test_tl1_required_calls_fit_their_schemas(talk: openai.OpenAI, model: str, stream: bool) -> None:
    asked = {"tools": [WEATHER, NOW], "tool_choice": "required", "temperature": 1, "max_tokens": 300}
    for seed in range(3):
        answer = say(talk, model, seed=seed, stream=stream, parallel_tool_calls=bool(seed), **asked)
        if stream:
            calls: dict[int, list[str]] = {}
            for delta in (d for c in answer for d in c.choices[0].delta.tool_calls or ()):
                calls.setdefault(delta.index, ["", ""])[0] += delta.function.name or ""
                calls[delta.index][1] += delta.function.arguments or ""
            found = list(calls.values())
        else:
            found = [[c.function.name, c.function.arguments] for c in answer.choices[0].message.tool_calls]
            if answer.choices[0].finish_reason == "length":
                found = found[:-1]
        assert found or seed
        assert len(found) == 1 or seed
        for name, arguments in found[: 4 if not stream else 1]:
            value = json.loads(arguments)
            assert name in ("get_weather", "now")
            jsonschema.validate(value, CITY if name == "get_weather" else {"type": "object", "maxProperties": 0})


def test_tl2_named_arguments_fit(talk: openai.OpenAI, model: str) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = say(talk, model, tools=[WEATHER, NOW], tool_choice=choice).choices[0]
    (call,) = answer.message.tool_calls
    jsonschema.validate(json.loads(call.function.arguments), CITY)
    assert answer.finish_reason == "stop"


def test_tl7_a_result_goes_back(talk: openai.OpenAI, model: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    turns = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}]
    answer = say(talk, model, [*turns, {"role": "tool", "tool_call_id": "c1", "content": "Noon"}], tools=[NOW])
    assert answer.choices[0].message.content


def test_embeddings_mean_something(talk: openai.OpenAI, model: str) -> None:
    texts = ["A cat sat on the mat.", "A kitten rested on the rug.", "Interest rates rose by two percent."]
    made = talk.embeddings.create(model=model, input=texts)
    cat, kitten, rates = (d.embedding for d in made.data)

    def near(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert near(cat, cat) == pytest.approx(1, abs=1e-5)
    assert near(cat, kitten) > near(cat, rates)
    again = talk.embeddings.create(model=model, input=texts[0])
    assert near(again.data[0].embedding, cat) == pytest.approx(1, abs=1e-3)
    last = talk.embeddings.create(model=model, input=texts[0], extra_body={"pooling": "last"})
    assert near(last.data[0].embedding, cat) < 0.999


def test_a_response_is_continued(talk: openai.OpenAI, model: str) -> None:
    first = talk.responses.create(model=model, input="My name is Ada.", max_output_tokens=30, temperature=0)
    second = talk.responses.create(
        model=model, input="What is my name?", previous_response_id=first.id, max_output_tokens=30, temperature=0
    )
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.output_text
