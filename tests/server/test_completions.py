"""POST /v1/completions: choices, streams, usage; rows C1 to C11 of the behaviours."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import openai
import pytest

from .calls import ask, post, refused, texts
from .conftest import MODEL
from .fake_engine import TEXT, FakeEngine


def test_c1_whole(client: openai.OpenAI) -> None:
    before, answer = time.time(), ask(client)
    assert [c.text for c in answer.choices] == [TEXT[:5]]
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert answer.model == MODEL
    assert int(before) <= answer.created <= time.time()


def test_c2_token_ids(client: openai.OpenAI, engine: FakeEngine) -> None:
    answer = ask(client, [7, 8, 9])
    assert answer.usage.prompt_tokens == 3
    assert answer.choices[0].text == TEXT[:5]
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
    assert [r.prompt_token_ids for r in engine.requests] == [list(b"one"), list(b"two")]
    assert answer.usage.prompt_tokens == 6
    drawn = {"temperature": 1, "seed": 7, "max_tokens": 12, "echo": True}
    found = [(c.index, c.text[:3]) for c in ask(client, ["one", "two"], n=2, **drawn).choices]
    assert found == [(0, "one"), (1, "one"), (2, "two"), (3, "two")]
    chunks = list(ask(client, ["one", "two"], n=2, stream=True, **drawn))
    assert [text[:3] for text in texts(chunks, 4)] == ["one", "one", "two", "two"]


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
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (5, 5, 10)
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


def test_c16_default_max_tokens(http: httpx.Client) -> None:
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": "hi"}).json()
    assert answer["usage"]["completion_tokens"] == 16


def test_max_tokens_zero(client: openai.OpenAI) -> None:
    answer = ask(client, max_tokens=0)
    assert answer.choices[0].text == ""
    assert answer.usage.completion_tokens == 0


def test_what_a_client_says_of_itself(http: httpx.Client) -> None:
    response = post(http, user="me", metadata={"a": "b"}, service_tier="flex", store=False)
    assert response.headers["x-ignored-params"] == "metadata, user"
    assert response.json()["service_tier"] == "default"


def test_c29_the_best_of_several(client: openai.OpenAI, http: httpx.Client, engine: FakeEngine) -> None:
    both = ask(client, ["a", "b"], n=4, temperature=1, seed=1).choices
    best = ask(client, ["a", "b"], n=2, best_of=4, temperature=1, seed=1)
    assert [c.index for c in best.choices] == [0, 1, 2, 3]
    assert [c.text for c in best.choices] == [both[i].text for i in (3, 2, 7, 6)]
    assert best.choices[0].logprobs is None
    assert best.usage.completion_tokens == 40
    refused(post(http, n=3, best_of=2), "best_of")
    refused(post(http, best_of=2, stream=True), "best_of")
