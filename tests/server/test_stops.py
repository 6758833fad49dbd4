"""Where an answer ends: stop strings, stop tokens, the end token; rows C21 to C23 of the behaviours."""

from __future__ import annotations

import random
from typing import Any

import httpx
import openai
import pytest

from .calls import ask, post, refused, texts
from .conftest import wait_for
from .fake_engine import EOS, TEXT, VOCAB, FakeEngine


def test_c21_stop(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.hold = 40  # it does not come to an end by itself
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


def test_stop_waits_for_min_tokens(client: openai.OpenAI) -> None:
    stop = next(c for c in TEXT if TEXT.count(c) > 1)
    first = TEXT.index(stop)
    second = TEXT.index(stop, first + 1)
    for stream in (False, True):
        answer = ask(client, max_tokens=200, stop=stop, extra_body={"min_tokens": first + 1}, stream=stream)
        assert (texts(list(answer)) if stream else [answer.choices[0].text]) == [TEXT[:second]]


def test_stop_ends_one_choice_and_not_the_other(client: openai.OpenAI, engine: FakeEngine) -> None:
    def length(seed: int, index: int) -> int:
        return len(str(random.Random(f"{seed}/{index}").randrange(1, 10**6)))

    seed = next(s for s in range(100) if length(s, 0) < length(s, 1))  # the first choice ends first
    engine.hold = 30
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
