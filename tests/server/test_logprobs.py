"""Log-probabilities of completions, of their prompts too; rows C11 to C15 of the behaviours."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from .calls import ask, post, refused, texts
from .fake_engine import TEXT, FakeEngine


@pytest.mark.parametrize("asked", [{}, {"logprobs": None}])
def test_c11_none_unless_asked_for(client: openai.OpenAI, engine: FakeEngine, asked: dict[str, Any]) -> None:
    assert ask(client, **asked).choices[0].logprobs is None
    assert all(c.choices[0].logprobs is None for c in ask(client, stream=True, **asked))
    assert engine.requests[-1].sampling.logprobs is None


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
