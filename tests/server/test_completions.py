"""POST /v1/completions; rows C* of the behaviours."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import httpx
import openai
import pytest

from .conftest import MODEL, wait_for
from .fake_engine import EOS, TEXT, VOCAB, FakeEngine


def ask(client: openai.OpenAI, prompt: Any = "hello", **more: Any) -> Any:
    return client.completions.create(model=MODEL, prompt=prompt, **{"temperature": 0, "max_tokens": 5, **more})


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": MODEL, "prompt": "hello", "max_tokens": 5, **fields})


def refused(response: httpx.Response, param: str | None) -> str:
    """A 400 of the one shape; its message."""
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert "\n" not in error["message"]
    return str(error["message"])


def texts(chunks: list[Any], count: int = 1) -> list[str]:
    return ["".join(c.choices[0].text for c in chunks if c.choices and c.choices[0].index == i) for i in range(count)]


def test_c1_whole(client: openai.OpenAI) -> None:
    answer = ask(client)
    assert [c.text for c in answer.choices] == [TEXT[:5]]
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert answer.model == MODEL
    assert abs(answer.created - time.time()) < 5
    assert answer.choices[0].logprobs is None  # C11


def test_c2_token_ids(client: openai.OpenAI, engine: FakeEngine) -> None:
    assert ask(client, [7, 8, 9]).usage.prompt_tokens == 3
    assert engine.requests[-1].prompt_token_ids == [7, 8, 9]


def test_c3_c4_prompts(client: openai.OpenAI) -> None:
    prompts = ["a", "b", "c", "d"]
    whole = ask(client, prompts, max_tokens=40, temperature=1, seed=3)
    assert [c.index for c in whole.choices] == [0, 1, 2, 3]
    chunks = list(ask(client, prompts, max_tokens=40, temperature=1, seed=3, stream=True))
    assert all(len(c.choices) == 1 for c in chunks)
    assert texts(chunks, 4) == [c.text for c in whole.choices]


def test_c5_n(client: openai.OpenAI) -> None:
    answer = ask(client, n=3, temperature=1, seed=42, max_tokens=12)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.text for c in answer.choices}) == 3
    assert all(c.finish_reason == "length" for c in answer.choices)


def test_c6_prompts_times_n(client: openai.OpenAI, engine: FakeEngine) -> None:
    answer = ask(client, ["one", "two"], n=2)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert [r.prompt_token_ids for r in engine.requests] == [list(b"one"), list(b"two")]
    assert answer.usage.prompt_tokens == 6


def test_c7_stream_equals_whole_with_split_code_points(http: httpx.Client, client: openai.OpenAI) -> None:
    whole = ask(client, max_tokens=200).choices[0].text
    assert "🙂" in whole
    assert "�" not in whole[:-1]
    response = post(http, stream=True, max_tokens=200, temperature=0)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.endswith("data: [DONE]\n\n")
    events = [json.loads(e.removeprefix("data: ")) for e in response.text.split("\n\n")[:-2]]
    assert "".join(e["choices"][0]["text"] for e in events) == whole
    reasons = [e["choices"][0]["finish_reason"] for e in events]
    assert [r for r in reasons if r] == ["length"]
    assert reasons[-1] == "length"
    assert len({(e["id"], e["created"], e["model"]) for e in events}) == 1


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_c8_no_usage(client: openai.OpenAI, options: Any) -> None:
    more = {} if options is None else {"stream_options": options}
    assert all(c.usage is None for c in ask(client, stream=True, **more))


def test_c9_usage_chunk(client: openai.OpenAI) -> None:
    *content, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert all(c.usage is None and c.choices for c in content)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 5)
    assert last.usage.prompt_tokens_details.cached_tokens == 4


def test_running_usage(client: openai.OpenAI) -> None:
    counts = [
        c.usage.completion_tokens
        for c in ask(client, stream=True, stream_options={"continuous_usage_stats": True, "include_usage": True})
    ]
    assert counts == sorted(counts)
    assert counts[-1] == 5


def test_c10_stream_options_without_stream(http: httpx.Client) -> None:
    refused(post(http, stream_options={"include_usage": True}), "stream_options")


def test_c12_logprobs(client: openai.OpenAI) -> None:
    found = ask(client, max_tokens=60, logprobs=5).choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset) == 60
    assert all(5 <= len(top) <= 6 for top in found.top_logprobs)
    assert min(min(top.values()) for top in found.top_logprobs) == -9999.0
    assert found.text_offset[:3] == [0, 1, 2]
    streamed = list(ask(client, max_tokens=60, logprobs=5, stream=True))
    assert [t for c in streamed for t in c.choices[0].logprobs.tokens] == found.tokens
    assert [t for c in streamed for t in c.choices[0].logprobs.text_offset] == found.text_offset


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [21, 30, -2, "abc", 1.5, True])
def test_c13_c14_bad_logprobs(http: httpx.Client, count: Any, stream: bool) -> None:
    response = post(http, logprobs=count, stream=stream)
    refused(response, "logprobs")
    assert response.headers["content-type"] == "application/json"
    assert post(http).status_code == 200


@pytest.mark.parametrize("tokens", [0, 1])
@pytest.mark.parametrize("prompt", ["héllo", list("héllo".encode())])
def test_c15_echo_scores_the_prompt(client: openai.OpenAI, tokens: int, prompt: Any) -> None:
    answer = ask(client, prompt, echo=True, logprobs=1, max_tokens=tokens)
    choice, found = answer.choices[0], answer.choices[0].logprobs
    assert choice.text == "héllo" + TEXT[:tokens]
    assert answer.usage.completion_tokens == tokens
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == 6 + tokens
    assert (found.token_logprobs[0], found.top_logprobs[0]) == (None, None)
    assert found.token_logprobs[1:] == [-0.5] * (5 + tokens)
    assert "".join(found.tokens) == choice.text
    assert found.text_offset[-1] == 4 + tokens
    continuation = found.token_logprobs[3:-1] if tokens else found.token_logprobs[3:]
    assert len(continuation) == 3


def test_c15_echo_streamed_and_several(client: openai.OpenAI) -> None:
    asked = {"echo": True, "logprobs": 1, "n": 2, "temperature": 1, "seed": 5, "max_tokens": 9}
    whole = ask(client, ["hello", "you"], **asked)
    chunks = list(ask(client, ["hello", "you"], stream=True, **asked))
    assert texts(chunks, 4) == [c.text for c in whole.choices]
    assert [c.text[:3] for c in whole.choices] == ["hel", "hel", "you", "you"]
    for index, choice in enumerate(whole.choices):
        own = [c.choices[0].logprobs for c in chunks if c.choices[0].index == index and c.choices[0].logprobs]
        assert [t for found in own for t in found.token_logprobs] == choice.logprobs.token_logprobs
        assert [t for found in own for t in found.text_offset] == choice.logprobs.text_offset


def test_echo_without_logprobs(client: openai.OpenAI, engine: FakeEngine) -> None:
    assert ask(client, echo=True).choices[0].text == "hello" + TEXT[:5]
    assert texts(list(ask(client, echo=True, stream=True))) == ["hello" + TEXT[:5]]
    assert engine.requests[-1].sampling.prompt_logprobs is None


def test_prompt_logprobs(http: httpx.Client) -> None:
    first, *others = post(http, prompt_logprobs=1).json()["choices"][0]["prompt_logprobs"]
    assert first is None
    assert others[0][str(ord("e"))] == {"logprob": -0.5, "rank": 1, "decoded_token": "e"}
    assert len(others) == 4
    for bad in (21, -1, "x"):
        refused(post(http, prompt_logprobs=bad), "prompt_logprobs")
    refused(post(http, prompt_logprobs=1, stream=True), "prompt_logprobs")


def test_c16_default_max_tokens(http: httpx.Client) -> None:
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": "hi"}).json()
    assert answer["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("prompt", ["", [], [[]], ["a", ""], None, 5, {"a": 1}, [1, "a"], [[1], [True]], [1.5]])
def test_c17_bad_prompt(http: httpx.Client, prompt: Any) -> None:
    refused(post(http, prompt=prompt), "prompt")


def test_c17_prompt_absent(http: httpx.Client) -> None:
    refused(http.post("/v1/completions", json={"model": MODEL}), "prompt")


@pytest.mark.parametrize("prompt", [[VOCAB], [2**31], [-1], [[1], [VOCAB]], [10**30]])
def test_c18_out_of_vocabulary(http: httpx.Client, prompt: Any) -> None:
    assert "out of vocabulary" in refused(post(http, prompt=prompt), "prompt")
    assert post(http).status_code == 200


def test_c19_prompt_cap(http: httpx.Client) -> None:
    assert post(http, prompt=["a"] * 256, max_tokens=1).status_code == 200
    assert "256" in refused(post(http, prompt=["a"] * 257), "prompt")


@pytest.mark.parametrize("stream", [False, True])
def test_c20_l3_context(http: httpx.Client, stream: bool) -> None:
    response = post(http, prompt="x" * 500, max_tokens=13, stream=stream)
    message = refused(response, "prompt")
    assert "512" in message
    assert "500" in message
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert post(http, prompt="x" * 500, max_tokens=12).status_code == 200
    clamped = http.post("/v1/completions", json={"model": MODEL, "prompt": "x" * 510})
    assert clamped.json()["usage"]["completion_tokens"] == 2
    assert clamped.json()["choices"][0]["finish_reason"] == "length"


def test_c21_stop(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.delay = 0.001
    choice = ask(client, max_tokens=200, stop="\n").choices[0]
    assert choice.text == TEXT.partition("\n")[0]
    assert choice.finish_reason == "stop"
    assert choice.stop_reason == "\n"
    assert texts(list(ask(client, max_tokens=200, stop="\n", stream=True))) == [choice.text]
    wait_for(lambda: engine.aborted)


def test_stop_never_leaks_and_is_counted(client: openai.OpenAI) -> None:
    for stop in ("capital", "café", "🙂 there", "France."):
        whole = ask(client, max_tokens=300, stop=[stop, "never"])
        expected = TEXT[: TEXT.index(stop)]
        assert whole.choices[0].text == expected
        assert whole.usage.completion_tokens == len((expected + stop).encode())
        assert texts(list(ask(client, max_tokens=300, stop=[stop], stream=True))) == [expected]
    kept = ask(client, max_tokens=300, stop="capital", extra_body={"include_stop_str_in_output": True})
    assert kept.choices[0].text == "Paris is the capital"


def test_stop_ends_one_choice_and_not_the_other(client: openai.OpenAI, engine: FakeEngine) -> None:
    def length(seed: int, index: int) -> int:
        return len(str(random.Random(f"{seed}/{index}").randrange(1, 10**6)))

    seed = next(s for s in range(100) if length(s, 0) < length(s, 1))  # the first choice ends first
    engine.delay = 0.02
    answer = ask(client, n=2, temperature=1, seed=seed, max_tokens=60, stop=[" Paris"])
    assert [c.finish_reason for c in answer.choices] == ["stop", "stop"]
    assert [len(c.text) for c in answer.choices] == [length(seed, 0), length(seed, 1)]
    (asked,) = engine.requests
    # An earlier test's last abort may come late, and this one's may follow the answer.
    wait_for(lambda: [a.index for a in engine.aborted if asked.id in a.ids] == [0, None])


def test_c22_c23_stop_bounds(http: httpx.Client) -> None:
    assert post(http, stop=["a", "b", "c", "d"]).status_code == 200
    assert "at most 4" in refused(post(http, stop=list("abcde")), "stop")
    for bad in ("", [""], ["a", ""], 5, [5]):
        refused(post(http, stop=bad), "stop")


def test_c24_seed(client: openai.OpenAI) -> None:
    def said(seed: int) -> str:
        return str(ask(client, temperature=0.8, seed=seed, max_tokens=12).choices[0].text)

    assert said(42) == said(42)
    assert len({said(s) for s in range(4)}) == 4


@pytest.mark.parametrize("name", ["temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "-3", "3", '"1"', "true", "1e400", "[]"])
def test_c28_numbers(http: httpx.Client, name: str, value: str) -> None:
    raw = f'{{"model": "{MODEL}", "prompt": "a", "{name}": {value}}}'
    response = http.post("/v1/completions", content=raw, headers={"content-type": "application/json"})
    literal = value in ("NaN", "Infinity", "-Infinity")
    assert name in refused(response, None if literal else name) or literal


@pytest.mark.parametrize(
    ("name", "value"),
    [("best_of", 100), ("best_of", 0), ("best_of", True), ("suffix", "x"), ("use_beam_search", True), ("store", True)],
)
def test_c29_c31_known_but_not_honoured(http: httpx.Client, name: str, value: Any) -> None:
    assert name in refused(post(http, **{name: value}), name)


def test_c29_the_best_of_several(client: openai.OpenAI, http: httpx.Client, engine: FakeEngine) -> None:
    both = ask(client, ["a", "b"], n=4, temperature=1, seed=1).choices
    best = ask(client, ["a", "b"], n=2, best_of=4, temperature=1, seed=1)
    assert [c.index for c in best.choices] == [0, 1, 2, 3]
    assert [c.text for c in best.choices] == [both[i].text for i in (3, 2, 7, 6)]
    assert best.choices[0].logprobs is None
    assert best.usage.completion_tokens == 40
    refused(post(http, n=3, best_of=2), "best_of")
    refused(post(http, best_of=2, stream=True), "best_of")


def test_c26_c27_logit_bias(http: httpx.Client, client: openai.OpenAI, engine: FakeEngine) -> None:
    ask(client, logit_bias={"65": -100, "66": 1.5})
    assert engine.requests[-1].sampling.logit_bias == {65: -100.0, 66: 1.5}
    message = refused(post(http, logit_bias={"900": 1}), "logit_bias")
    assert "900" in message
    assert str(VOCAB) in message
    message = refused(post(http, logit_bias={"bad1": 1, "5": 1, "bad2": 1}), "logit_bias")
    assert "bad1" in message
    assert "bad2" in message
    for bad in ({"5": "x"}, {"5": 101}, {"-1": 1}, {"5": None}, [], "x", {"5": True}):
        refused(post(http, logit_bias=bad), "logit_bias")


def test_values_that_ask_for_nothing_are_fine(http: httpx.Client) -> None:
    response = post(http, best_of=1, suffix=None, logit_bias={}, echo=False, response_format={"type": "text"})
    assert response.status_code == 200
    assert "x-ignored-params" not in response.headers


@pytest.mark.parametrize("n", [0, -1, 129, 10**9, 2**70, 1.5, "2"])
def test_c30_n(http: httpx.Client, n: Any) -> None:
    started = time.monotonic()
    refused(post(http, n=n), "n")
    assert time.monotonic() - started < 0.5


def test_choices_are_bounded(http: httpx.Client) -> None:
    refused(post(http, prompt=["a"] * 100, n=100), "n")


@pytest.mark.parametrize("name", ["max_tokens", "min_tokens", "seed", "top_k"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.5, "x", [1], {}, True, 10**400])
def test_t11_t31_integers(http: httpx.Client, name: str, value: Any) -> None:
    overflow = name == "max_tokens" and type(value) is int and value > 0  # more than the context holds
    refused(post(http, **{name: value}), "prompt" if overflow else name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 0),
        ("typical_p", 1.1),
        ("allowed_token_ids", []),
        ("allowed_token_ids", [VOCAB]),
        ("allowed_token_ids", 5),
        ("bad_words", [""]),
        ("bad_words", "x" * 3),
        ("priority", "high"),
        ("priority", 2**40),
        ("service_tier", "gold"),
        ("user", 5),
        ("user", "x" * 1000),
        ("metadata", []),
        ("metadata", {str(i): "" for i in range(17)}),
        ("min_tokens", 6),
        ("repetition_penalty", 0),
        ("ignore_eos", 1),
        ("skip_special_tokens", "yes"),
        ("include_stop_str_in_output", 0),
        ("echo", 1),
        ("stream", "yes"),
        ("stream_options", "x"),
        ("add_special_tokens", 1),
    ],
)
def test_a_bad_value_is_named(http: httpx.Client, name: str, value: Any) -> None:
    refused(post(http, **{name: value}), name)


@pytest.mark.parametrize(("value", "param"), [([1.5], "[0]"), ([-1], ""), ([VOCAB], ""), (5, ""), ([0] * 300, "")])
def test_stop_token_ids(http: httpx.Client, value: Any, param: str) -> None:
    refused(post(http, stop_token_ids=value), f"stop_token_ids{param}")


def test_ending_token_is_counted_and_not_shown(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.ends, engine.text = True, "Yes."
    answer = ask(client, max_tokens=50, logprobs=1)
    assert answer.choices[0].text == "Yes."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs.tokens == ["Y", "e", "s", "."]
    assert answer.usage.completion_tokens == 5
    shown = ask(client, max_tokens=50, extra_body={"skip_special_tokens": False, "include_stop_str_in_output": True})
    assert shown.choices[0].text == "Yes.<|end|>"
    stopped = ask(client, max_tokens=50, extra_body={"stop_token_ids": [ord("s")]})
    assert stopped.choices[0].text == "Ye"
    assert stopped.choices[0].stop_reason == ord("s")
    assert EOS not in engine.requests[-1].sampling.stop_token_ids


def test_parameters_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    ask(client, temperature=0.7, top_p=0.9, presence_penalty=0.1, frequency_penalty=-0.2, seed=-3, n=2, extra_body={
        "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "ignore_eos": True, "min_tokens": 2,
        "stop_token_ids": [9], "skip_special_tokens": False, "typical_p": 0.5, "allowed_token_ids": [80, 9],
        "bad_words": ["Par"], "priority": -3,
    })  # fmt: skip
    assert engine.requests[-1].priority == -3
    got = engine.requests[-1].sampling
    assert (got.temperature, got.top_p, got.presence_penalty, got.frequency_penalty) == (0.7, 0.9, 0.1, -0.2)
    assert (got.seed, got.n, got.top_k, got.min_p, got.repetition_penalty) == (-3, 2, 40, 0.05, 1.1)
    assert (got.ignore_eos, got.min_tokens, got.stop_token_ids, got.skip_special_tokens) == (True, 2, (9,), False)
    assert (got.typical_p, got.allowed_token_ids, got.bad_words_token_ids) == (0.5, (80, 9), (tuple(b"Par"),))
    assert got.max_tokens == 5


def test_what_a_client_says_of_itself(http: httpx.Client) -> None:
    response = post(http, user="me", metadata={"a": "b"}, service_tier="flex", store=False)
    assert response.headers["x-ignored-params"] == "metadata, user"
    assert response.json()["service_tier"] == "default"


def test_max_tokens_zero(client: openai.OpenAI) -> None:
    answer = ask(client, max_tokens=0)
    assert answer.choices[0].text == ""
    assert answer.usage.completion_tokens == 0
