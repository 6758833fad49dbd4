"""What only a model can show: each parameter changes the answer, and grammars hold. One live server for all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from ..conftest import Running
from .calls import refused
from .parameters import COMPLETIONS, Parameter

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


@pytest.mark.parametrize("parameter", [p for p in COMPLETIONS.parameters if p.text], ids=lambda p: p.name)
def test_each_parameter_changes_the_answer(plain: httpx.Client, model: str, parameter: Parameter) -> None:
    def said(**more: Any) -> list[str]:
        body = COMPLETIONS.body | {"model": model} | parameter.base | more
        return [c["text"] for c in plain.post(COMPLETIONS.path, json=body).json()["choices"]]

    before = said()
    assert said() == before
    assert said(**{parameter.name: parameter.change}) != before


def test_c24_seeds(talk: openai.OpenAI, model: str) -> None:
    def said(seed: int) -> str:
        return str(complete(talk, model, temperature=0.8, seed=seed, max_tokens=24).choices[0].text)

    first = [said(seed) for seed in range(4)]
    assert len(set(first)) == 4
    assert said(2) == first[2]


def test_c5_choices_differ_and_repeat_by_seed(talk: openai.OpenAI, model: str) -> None:
    def texts() -> list[str]:
        return [c.text for c in complete(talk, model, n=3, temperature=1, seed=42, max_tokens=24).choices]

    assert len(set(texts())) == 3
    assert texts() == texts()


def test_c25_logit_bias_and_allowed_tokens(talk: openai.OpenAI, plain: httpx.Client, model: str) -> None:
    text = """the a of and to in is it city country world I you that was for on are with as his they be at one have
        this time there little girl boy named Lily who had loved upon once"""
    words = text.split()
    forms = {form for word in words for form in (word, " " + word, word.capitalize(), " " + word.capitalize())}
    banned = {t for form in forms for t in ids(plain, form)}
    before = complete(talk, model, "Once upon a time", max_tokens=64).choices[0].text
    assert set(before.split()) & set(words)
    other = (
        complete(talk, model, "Once upon a time", max_tokens=64, logit_bias=dict.fromkeys(map(str, banned), -100))
        .choices[0]
        .text
    )
    assert not set(re.findall(r"\w+", other)) & {form.strip() for form in forms}
    assert other
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


def test_ch23_json_object(talk: openai.OpenAI, model: str) -> None:
    subjects = ("a city", "a dog", "your day", "the sea", "a meal", "rain", "a book", "music", "the moon", "a friend")

    def asked(number: int) -> Any:
        turns = [{"role": "user", "content": f"Tell me about {subjects[number % 10]}, in a short JSON object."}]
        form = {"type": "json_object"}
        return say(talk, model, turns, temperature=1, seed=number, max_tokens=200, response_format=form).choices[0]

    with ThreadPoolExecutor(20) as many:
        answers = list(many.map(asked, range(20)))
    done = [json.loads(c.message.content) for c in answers if c.finish_reason == "stop"]
    assert len(done) >= 10  # the others had no room to end
    assert all(isinstance(value, dict) for value in done)
    assert all(c.message.content.lstrip().startswith("{") for c in answers)


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


def test_ch31_counting_is_what_is_used(talk: openai.OpenAI, plain: httpx.Client, model: str) -> None:
    asked = {"model": model, "messages": QUESTION, "tools": [NOW]}
    used = say(talk, model, max_tokens=1, tools=[NOW]).usage.prompt_tokens
    assert plain.post("/tokenize", json=asked).json()["count"] == used
    assert plain.post("/v1/chat/completions/input_tokens", json=asked).json()["input_tokens"] == used
    for text in ("Hello", "  spaced ", "日本語 🙂"):
        used = complete(talk, model, text, max_tokens=1).usage.prompt_tokens
        assert plain.post("/tokenize", json={"prompt": text}).json()["count"] == used


def test_ch17_a_begun_answer_goes_on(talk: openai.OpenAI, model: str) -> None:
    turns = [{"role": "user", "content": "Name the capital of France."}]
    begun = [*turns, {"role": "assistant", "content": "The capital of France is"}]
    more = {"continue_final_message": True, "add_generation_prompt": False}
    answer = say(talk, model, begun, max_tokens=4, extra_body=more)
    assert answer.choices[0].message.content.startswith(" Paris")
    said = say(talk, model, turns, max_tokens=1).usage.prompt_tokens
    assert answer.usage.prompt_tokens == said + 5  # the five words begun, and no mark of another turn


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
            assert found
        else:
            found = [[c.function.name, c.function.arguments] for c in answer.choices[0].message.tool_calls]
            assert found
            if answer.choices[0].finish_reason == "length":
                found = found[:-1]
            assert answer.choices[0].finish_reason in ("tool_calls", "length")
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
    assert (answer.finish_reason, answer.message.content) == ("stop", None)


def test_tl6_a_function_without_parameters_gets_an_empty_object(talk: openai.OpenAI, model: str) -> None:
    choice = {"type": "function", "function": {"name": "now"}}
    for chosen in (choice, "required"):
        answer = say(talk, model, tools=[NOW], tool_choice=chosen, parallel_tool_calls=False).choices[0]
        (call,) = answer.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("now", {})


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
