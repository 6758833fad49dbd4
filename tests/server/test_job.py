"""A request's bookkeeping: merging what waits, closing choices, putting text together."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustinfer.protocol.messages import Output
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.server.choice import LOWEST, Choice, clamped
from rustinfer.server.errors import engine_unavailable
from rustinfer.server.job import ClientGone, Job
from rustinfer.text import Tokenizer

from .fake_engine import EOS, tokenizer_json

TOKENIZER = Tokenizer(tokenizer_json())


def test_f11_what_waits_is_merged_into_one_output_per_choice() -> None:
    async def run() -> None:
        job = Job(["a", "b"], 2)
        for token in range(100):
            job.take(1, Output("a", 1, [token], [(-1.0, [], 1)]))
        job.take(2, Output("b", 0, [7], finish_reason="length", cached_tokens=3))
        (one, first), (two, second) = await job.news()
        assert (one, first.token_ids, len(first.logprobs or ())) == (1, list(range(100)), 100)
        assert (two, second.finish_reason, second.cached_tokens) == (2, "length", 3)
        assert job.open == {0, 1, 3}
        job.take(2, Output("b", 0, [8]))  # that choice is closed
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.news(), 0.01)

    asyncio.run(run())


def test_much_is_dealt_with_in_parts_between_which_others_have_their_turn() -> None:
    async def run() -> None:
        job, top = Job(["a"], 3), [(n, -1.0) for n in range(20)]
        scores = [(-1.0, top, 1)] * 100
        for choice in range(3):
            reason = "length" if choice < 2 else "stop"
            ids = [choice] * 100
            job.take(choice, Output("a", choice, ids, list(scores), reason, 7, prompt_logprobs=[(-2.0, [], 1)]))
        parts: list[tuple[int, Output]] = []
        while sum(len(part.token_ids) for _, part in parts) < 300:
            found = await job.news()
            assert 0 < sum(len(part.token_ids) * 21 for _, part in found) <= 500
            parts += found
        for choice in range(3):
            mine = [part for number, part in parts if number == choice]
            assert [len(part.logprobs or ()) for part in mine] == [len(part.token_ids) for part in mine]
            ends = [part.finish_reason for part in mine]
            assert ends == [None] * (len(mine) - 1) + ["length" if choice < 2 else "stop"]
            assert [part.stop_reason for part in mine][-2:] == [None, 7]
            assert [len(part.prompt_logprobs or ()) for part in mine] == [1] + [0] * (len(mine) - 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.news(), 0.01)

    asyncio.run(run())


def test_the_first_error_wins_and_stays() -> None:
    async def run() -> None:
        job = Job(["a"], 1)
        waiting = asyncio.create_task(job.news())
        await asyncio.sleep(0)
        job.take(0, Output("a", 0, [1]))
        job.fail(ClientGone())
        job.fail(engine_unavailable())
        for attempt in (waiting, job.news()):
            with pytest.raises(ClientGone):
                await attempt

    asyncio.run(run())


def test_an_answer_that_is_complete_is_given_whatever_becomes_of_the_engine() -> None:
    async def run() -> None:
        job = Job(["a"], 2)
        job.take(0, Output("a", 0, [1], finish_reason="stop"))
        job.take(1, Output("a", 1, [2], finish_reason="length"))
        job.fail(engine_unavailable())
        assert [number for number, _ in await job.news()] == [0, 1]
        job.fail(ClientGone())
        with pytest.raises(ClientGone):
            await job.news()

    asyncio.run(run())


@settings(max_examples=200)
@given(st.text(min_size=1, max_size=40), st.lists(st.integers(1, 5), max_size=20), st.text(min_size=1, max_size=3))
def test_cuts_do_not_matter_and_stops_do_not_leak(text: str, cuts: list[int], stop: str) -> None:
    tokens = list(text.encode())
    choice = Choice(TOKENIZER, SamplingParams(stop=[stop], logprobs=0))
    shown, at = "", 0
    for size in [*cuts, len(tokens)]:
        part_of = tokens[at : at + size]
        at += size
        last = at >= len(tokens)
        scores = [(-1.0, list[tuple[int, float]](), 1)] * len(part_of)
        part = choice.take(Output("a", 0, part_of, scores, "length" if last else None))
        shown += part.text
        if part.finish_reason:
            break
    expected, found, _ = text.partition(stop)
    assert shown == expected
    assert part.finish_reason == ("stop" if found else "length")
    assert choice.completion_tokens == len((expected + found).encode())
    assert part.stopped_early == (bool(found) and not last)


def test_the_ending_token_has_no_text_and_no_logprob() -> None:
    choice = Choice(TOKENIZER, SamplingParams(logprobs=0, skip_special_tokens=False))
    part = choice.take(Output("a", 0, [65, EOS], [(-1.0, [], 1), (-2.0, [], 1)], "stop"))
    assert (part.text, [t.logprob for t in part.tokens], choice.completion_tokens) == ("A", [-1.0], 2)


def test_half_a_code_point_at_the_end() -> None:
    choice = Choice(TOKENIZER, SamplingParams())
    assert choice.take(Output("a", 0, list("é".encode())[:1])).text == ""
    assert choice.take(Output("a", 0, [], finish_reason="length")).text == "\ufffd"


def test_ch28_logprobs_are_numbers_of_json() -> None:
    assert [clamped(v) for v in (float("-inf"), float("nan"), 0.1, -3.5)] == [LOWEST, LOWEST, 0.0, -3.5]
