"""POST /v1/chat/completions: what is answered; rows CH1 to CH11, CH17 and CH20 of the behaviours."""

from __future__ import annotations

import time
from typing import Any

import httpx
import openai
import pytest

from .calls import refused
from .chats import MESSAGES, PROMPT, ask, post
from .conftest import MODEL
from .fake_engine import TEXT, FakeEngine


def test_ch1_ch2_whole(client: openai.OpenAI, engine: FakeEngine) -> None:
    before, answer = time.time(), ask(client)
    choice = answer.choices[0]
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", TEXT[:8], None)
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("length", 0, None)
    assert bytes(engine.requests[-1].prompt_token_ids).decode() == PROMPT
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(PROMPT), 8)
    assert answer.usage.total_tokens == len(PROMPT) + 8
    assert int(before) <= answer.created <= time.time()


def test_required_keys_are_present(http: httpx.Client) -> None:
    choice = post(http).json()["choices"][0]
    assert {"finish_reason", "index", "message", "logprobs"} <= choice.keys()
    assert {"role", "content", "refusal"} <= choice["message"].keys()


def test_ch3_ch4_ch5_stream(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, max_tokens=120))
    first, *middle, last = chunks
    assert first.choices[0].delta.role == "assistant"
    assert not first.choices[0].delta.content
    assert all(c.choices[0].delta.role is None for c in middle)
    assert "".join(c.choices[0].delta.content for c in middle) == ask(client, max_tokens=120).choices[0].message.content
    assert not last.choices[0].delta.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]
    assert last.choices[0].finish_reason == "length"
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert first.object == "chat.completion.chunk"


def test_stream_of_several_choices(client: openai.OpenAI) -> None:
    chunks = [c.choices[0] for c in ask(client, stream=True, n=3, temperature=1, seed=1)]
    for index in range(3):
        own = [c for c in chunks if c.index == index]
        assert own[0].delta.role == "assistant"
        assert [c.finish_reason for c in own if c.finish_reason] == ["length"]


def test_ch6_ch7_ch9_logprobs(client: openai.OpenAI) -> None:
    none = ask(client, logprobs=True, top_logprobs=0).choices[0].logprobs.content
    assert [t.top_logprobs for t in none] == [[]] * 8
    five = ask(client, logprobs=True, top_logprobs=5, max_tokens=120).choices[0]
    for token in five.logprobs.content:
        values = [t.logprob for t in token.top_logprobs]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert all(-9999 <= v <= 0 for v in values)
        assert all(t.bytes is not None for t in token.top_logprobs)
    assert "".join(t.token for t in five.logprobs.content) == five.message.content
    assert bytes(b for t in five.logprobs.content for b in t.bytes).decode() == five.message.content
    streamed = ask(client, logprobs=True, top_logprobs=5, max_tokens=120, stream=True)
    tokens = [t for c in streamed if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert tokens == five.logprobs.content


@pytest.mark.parametrize("stream", [False, True])
def test_ch8_top_logprobs(http: httpx.Client, stream: bool) -> None:
    for bad in (21, -1, "x"):
        refused(post(http, logprobs=True, top_logprobs=bad, stream=stream), "top_logprobs")
    refused(post(http, top_logprobs=3, stream=stream), "top_logprobs")
    assert post(http, stream=stream).status_code == 200


def test_ch10_null_logprobs_are_none(http: httpx.Client) -> None:
    def choices(**more: Any) -> Any:
        return post(http, temperature=0, **more).json()["choices"]

    assert choices(logprobs=None, top_logprobs=None) == choices()
    five = choices(logprobs=True, top_logprobs=None)
    assert five == choices(logprobs=True)
    assert five[0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_ch17_prefill(client: openai.OpenAI, engine: FakeEngine) -> None:
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "It is"}]
    ask(client, turns, extra_body={"continue_final_message": True, "add_generation_prompt": False})
    assert bytes(engine.requests[-1].prompt_token_ids).decode() == "user: Where?\nassistant: It is"


def test_prefill_needs_an_assistant(http: httpx.Client) -> None:
    refused(post(http, continue_final_message=True), "messages")
    refused(post(http, continue_final_message=True, add_generation_prompt=True), "continue_final_message")


def test_ch20_max_completion_tokens_wins(client: openai.OpenAI) -> None:
    assert ask(client, max_tokens=8, max_completion_tokens=3).usage.completion_tokens == 3


def test_max_tokens(http: httpx.Client, client: openai.OpenAI) -> None:
    refused(post(http, max_tokens=0), "max_tokens")
    refused(post(http, max_completion_tokens=-1), "max_completion_tokens")
    rest = client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0)  # type: ignore[arg-type]
    assert rest.usage is not None
    assert rest.usage.total_tokens == 512


def test_long_bodies_are_understood_too(client: openai.OpenAI, http: httpx.Client) -> None:
    long = [{"role": "user", "content": "x" * 100_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, long)
    assert caught.value.code == "context_length_exceeded"
    refused(post(http, messages=long, zebra="y" * 10_000, n=0), "messages")
