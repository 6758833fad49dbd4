"""Several tokens in a launch: the same is said, token by token, and nobody is kept waiting for more than a launch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rustinfer.engine.engine import Engine
from rustinfer.engine.plan import Plan
from rustinfer.engine.sampled import Flight
from rustinfer.engine.sequence import Sequence, State
from rustinfer.engine.talk import Talk
from rustinfer.protocol.structured import Structured

from .fakes import EOS, PAGE, FakeTalk, Log, alone, request
from .fakes import engine as faked
from .tiny import load

PIN = {"pins": {"decode_tokens": "reference"}}


def watched(engine: Engine) -> list[int]:
    """The tokens that each launch is asked for, as they are launched."""
    counts: list[int] = []
    launch = engine.runner.launch

    def watch(plan: Plan) -> Flight:
        counts.append(plan.count)
        return launch(plan)

    engine.runner.launch = watch  # type: ignore[method-assign]
    return counts


def said(depth: int, params: list[dict[str, Any]], **options: Any) -> tuple[dict[str, list[int]], list[int]]:
    """What requests say that come at once, and how many tokens each launch had."""
    engine = load(**options).engine
    engine.runner.depth = depth
    counts = watched(engine)
    for i, asked in enumerate(params):
        engine.add(request(f"{i}", [3 + i, 4, 5 + 2 * i], **{"max_tokens": 23, "ignore_eos": True, "seed": i, **asked}))
    log = Log().drain(engine)
    assert engine.cache.available == engine.cache.pool.total or options.get("enable_prefix_caching", True)
    assert all(len(output.token_ids) <= 1 for output in log.outputs)
    return {name: tokens for (name, _), tokens in log.tokens.items()}, counts


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(
    "params",
    [
        [{}],
        [{"temperature": 0.9}],
        [{"temperature": 1.3}, {}, {"temperature": 0.4}],
        [{"max_tokens": 3 + 5 * i, "temperature": 0.3 * i} for i in range(8)],
        [{"ignore_eos": False, "stop_token_ids": list(range(1, 128, 9)), "temperature": 1.0}] * 3,
    ],
    ids=["greedy", "at random", "mixed", "ends apart", "stop tokens"],
)
def test_the_same_is_said_as_token_by_token(params: list[dict[str, Any]], depth: int) -> None:
    wanted, single = said(depth, params)
    assert set(single) == {1}
    told, counts = said(depth, params, **PIN)
    assert told == wanted
    assert sum(count >= 4 for count in counts) >= 1 + sum(len(tokens) > 20 for tokens in told.values()) // len(told)
    assert max(counts) <= 8


@pytest.mark.parametrize(
    "params",
    [
        {"logprobs": 1},
        {"top_k": 5, "temperature": 1.0},
        {"repetition_penalty": 1.2},
        {"bad_words_token_ids": [[7]]},
        {"prompt_logprobs": 1},
    ],
    ids=str,
)
def test_who_asks_for_more_takes_single_steps_and_so_does_the_neighbour(params: dict[str, Any]) -> None:
    asked = [{"max_tokens": 12, **params}, {"max_tokens": 12}]
    wanted, _ = said(1, asked)
    told, counts = said(1, asked, **PIN)
    assert told == wanted
    assert set(counts) == {1}


def test_a_grammar_and_what_the_host_has_to_know_of_each_token_take_single_steps() -> None:
    for asked in ({"structured_outputs": Structured("json_object")}, {"min_tokens": 3}, {"min_p": 0.1}, {"top_p": 0.9}):
        assert not Sequence(request("", [1], temperature=1.0, **asked), 0, 0, 9, 0).steady  # type: ignore[arg-type]
    assert Sequence(request("", [1], temperature=1.0, seed=3, stop_token_ids=[4], top_k=-1), 0, 0, 9, 0).steady


def test_greedy_rows_may_cut_off_what_they_do_not_draw_from() -> None:
    assert 8 in said(1, [{"top_k": 5, "top_p": 0.5}], **PIN)[1]


def test_the_last_tokens_take_a_launch_as_long_as_they_are() -> None:
    assert [count for count in said(1, [{"max_tokens": 23}], **PIN)[1] if count > 1] == [8, 8, 6]


def test_launches_are_longer_for_one_or_two_than_for_more() -> None:
    assert [max(said(1, [{}] * size, **PIN)[1]) for size in (1, 2, 3)] == [8, 8, 4]


@pytest.mark.parametrize(("pages", "tokens", "sizes"), [(1024, 150, {1, 18, 35, 38}), (30, 60, {*range(1, 17)})])
def test_pages_are_given_ahead_where_plenty_are_free(pages: int, tokens: int, sizes: set[int]) -> None:
    engine, log = faked(pages=pages, depth=1, several=4), Log()
    engine.add(request("a", [1, 2, 3], max_tokens=tokens, ignore_eos=True))
    engine.step()
    (sequence,) = engine.scheduler.running
    seen: set[int] = set()
    while sequence.state is not State.DONE:
        seen.add(len(sequence.pages))
        log.read(engine)
    assert seen == sizes
    assert log.drain(engine).tokens["a", 0] == alone_ignoring_ends([1, 2, 3], tokens)
    assert engine.cache.available == engine.cache.pool.total


def test_speculation_takes_single_steps() -> None:
    speculative = {"method": "ngram", "num_speculative_tokens": 3}
    assert set(said(1, [{}], speculative_config=speculative, **PIN)[1]) == {1}


def test_a_cache_too_small_for_several_tokens_of_all_gives_them_one_by_one() -> None:
    params = [{"max_tokens": 60, "temperature": 0.7}] * 3
    wanted, _ = said(1, params)
    told, counts = said(1, params, kv_cache_tokens=128, **PIN)
    assert told == wanted
    assert {1, 4} <= set(counts)


def test_whoever_waits_to_come_in_is_not_kept_waiting_by_the_next_launch() -> None:
    engine = faked(depth=1, several=4)
    counts = watched(engine)
    engine.add(request("a", [1, 2, 3], max_tokens=40, ignore_eos=True))
    log = Log()
    for _ in range(8):
        log.read(engine)
    assert counts[-1] == 4
    launched = len(counts)
    engine.add(request("b", [4, 5], max_tokens=1))
    while ("b", 0) not in log.tokens:
        log.read(engine)
    assert counts[launched] == 1  # b's prompt, and a's next token, as soon as one of the two on their way is over
    log.drain(engine)
    assert log.tokens["a", 0] == alone_ignoring_ends([1, 2, 3], 40)


@pytest.mark.parametrize("several", [4, 8])
@pytest.mark.parametrize("pages", [64, 1024])
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("before", range(3, 20))
def test_launches_are_cut_short_for_whoever_comes(before: int, depth: int, pages: int, several: int) -> None:
    engine, log = faked(pages=pages, depth=depth, several=several), Log()
    for name in "ab":
        engine.add(request(name, [1, 2, ord(name)], max_tokens=40, ignore_eos=True))
    for _ in range(before):
        log.read(engine)
    heard = len(log.tokens["a", 0])
    engine.add(request("c", [4, 5], max_tokens=6, ignore_eos=True))
    while ("c", 0) not in log.tokens:
        log.read(engine)
    # The first token of the one behind the launch that is running; what that has left only where pages came in between.
    assert len(log.tokens["a", 0]) - heard <= (1 + several if depth and pages == 64 else 1)
    log.drain(engine)
    for name, prompt, count in (("a", [1, 2, 97], 40), ("b", [1, 2, 98], 40), ("c", [4, 5], 6)):
        assert log.tokens[name, 0] == alone_ignoring_ends(prompt, count)
    assert engine.cache.available == engine.cache.pool.total


@pytest.mark.parametrize("after", range(1, 9))
def test_a_launch_before_one_of_others_is_not_cut_short(after: int) -> None:
    engine, log = faked(pages=1024, depth=1, several=4), Log()
    for name in "ab":
        engine.add(request(name, [1, 2, ord(name)], max_tokens=60, ignore_eos=True))
    for _ in range(12):
        log.read(engine)
    engine.abort((b"", "b"))
    for _ in range(after):
        log.read(engine)
    engine.add(request("c", [4, 5], max_tokens=6, ignore_eos=True))
    log.drain(engine)
    assert log.tokens["a", 0] == alone_ignoring_ends([1, 2, 97], 60)
    assert log.tokens["c", 0] == alone_ignoring_ends([4, 5], 6)


@pytest.mark.parametrize("stays", range(1, 9))
@pytest.mark.parametrize("before", range(5, 9))
def test_who_goes_away_again_has_harmed_nobody(before: int, stays: int) -> None:
    engine, log = faked(depth=1, several=4), Log()
    engine.add(request("a", [1, 2, 3], max_tokens=40, ignore_eos=True))
    for _ in range(before):
        log.read(engine)
    engine.add(request("b", [4, 5], max_tokens=6, ignore_eos=True))
    for _ in range(stays):
        log.read(engine)
    engine.abort((b"", "b"))
    log.drain(engine)
    assert log.tokens["a", 0] == alone_ignoring_ends([1, 2, 3], 40)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("before", [6, 7, 8, 10])
def test_what_was_cut_off_is_drawn_again_as_it_would_have_been(
    before: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[int] = []
    newest: list[Talk] = []

    def launched(talk: Talk) -> None:
        newest.append(talk)

    def stop(talk: Talk) -> None:
        """As a kernel that reads it at once; what it had computed is still there, and nobody may take it."""
        if talk is newest[-1]:  # the one before has drawn all
            cut.append(max(talk._at, 1))
            talk._words[cut[-1] :] = -2

    def told(**options: Any) -> dict[tuple[str, int], list[int]]:
        engine, log = load(enable_prefix_caching=False, **options).engine, Log()
        engine.runner.depth = depth
        for i in range(3):
            engine.add(request(f"{i}", [3 + i, 4], max_tokens=23, ignore_eos=True, seed=i, temperature=0.5 * i))
        for _ in range(before):
            log.read(engine)
        engine.add(request("c", [9, 8, 7], max_tokens=5, ignore_eos=True))
        return log.drain(engine).tokens

    wanted = told()
    monkeypatch.setattr(Talk, "stop", stop)
    monkeypatch.setattr(Talk, "launched", launched)
    assert told(**PIN) == wanted
    assert cut
    assert min(cut) < 4


def alone_ignoring_ends(prompt: list[int], count: int) -> list[int]:
    """What the fake model says whose end token is just a token."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + count:
        tokens += alone(tokens, 1)
    return tokens[len(prompt) :]


def test_tokens_come_out_one_by_one() -> None:
    engine = faked(depth=1, several=4)
    engine.add(request("a", [1, 2, 3], max_tokens=30, ignore_eos=True))
    news = [len(engine.step()) for _ in range(40)]
    assert max(news) == 1
    assert sum(news) == 30


@pytest.mark.parametrize("several", [4, 8])
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("asked", range(2, 14))
def test_an_abort_ends_the_launch(asked: int, depth: int, several: int) -> None:
    engine, log = faked(depth=depth, several=several), Log()
    engine.add(request("a", [1, 2, 3], max_tokens=100, ignore_eos=True))
    while len(log.tokens.get(("a", 0), ())) < asked:
        log.read(engine)
    FakeTalk.late = FakeTalk.drawn = 0
    launched = len(engine.runner.steps)  # type: ignore[attr-defined]
    engine.abort((b"", "a"))
    while engine.has_work:
        assert engine.step() == []
        engine.cache.check(list(engine.scheduler.sequences()))
    assert len(engine.runner.steps) == launched  # type: ignore[attr-defined]
    assert FakeTalk.drawn == 0
    assert FakeTalk.late <= 1  # the launch behind the one that was running: one token, of which nothing is told
    assert engine.cache.available == engine.cache.pool.total


def test_an_end_token_within_a_launch_ends_it_and_what_is_kept_is_right() -> None:
    # The end token is the last of a page, and not of a launch: nobody computes its place, so the page is not kept.
    said = ((p, len(alone(p, 40))) for p in ([i, 2, 3, 4] for i in range(1, 4000)))
    prompt = next(p for p, size in said if 5 < size < 40 and (4 + size) % PAGE == 0 and (size - 2) % 4 != 3)
    engine, log = faked(depth=1, several=4), Log()
    engine.add(request("a", prompt, max_tokens=40))
    log.drain(engine)
    assert log.tokens["a", 0] == alone(prompt, 40)
    assert log.tokens["a", 0][-1] == EOS
    longer = [*prompt, *log.tokens["a", 0], 5]  # goes on from the pages that the launch left in the tree
    engine.add(request("b", longer, max_tokens=9))
    log.drain(engine)
    assert log.tokens["b", 0] == alone(longer, 9)


def test_numbers_that_are_not_finite_fail_their_own_request() -> None:
    engine, log = faked(depth=1, several=4), Log()
    engine.runner.unsound = lambda chunk: chunk.sequence.request.id == "a" and chunk.start == 9  # type: ignore[attr-defined]
    engine.add(request("a", [1, 2, 3], max_tokens=30, ignore_eos=True))
    engine.add(request("b", [4, 2, 3], max_tokens=30, ignore_eos=True))
    log.drain(engine)
    assert log.failed["a"].code == "numerical_error"
    assert len(log.tokens["a", 0]) == 7
    assert log.tokens["b", 0] == alone_ignoring_ends([4, 2, 3], 30)
    assert engine.runner.cleared  # type: ignore[attr-defined]


def test_a_launch_that_is_lost_fails_its_requests_once() -> None:
    engine, log = faked(depth=1, several=4), Log()
    engine.runner.unreadable = lambda plan: plan.count > 1  # type: ignore[attr-defined]
    engine.add(request("a", [1, 2, 3], max_tokens=30))
    log.drain(engine)
    assert log.failed["a"].code == "internal_error"
    engine.runner.unreadable = lambda plan: False  # type: ignore[attr-defined]
    engine.add(request("b", [1, 2, 3], max_tokens=9))
    assert Log().drain(engine).tokens["b", 0] == alone([1, 2, 3], 9)


def test_a_launch_that_breaks_off_is_launched_again_from_where_it_began() -> None:
    wanted, _ = said(0, [{}, {"temperature": 0.9}])
    engine = load(**PIN).engine
    step = engine.runner.decodes[-1]  # type: ignore[attr-defined]
    broken: list[torch.Tensor] = []
    run = step.run

    def breaks_off(lanes: int, width: int, told: torch.Tensor, stop: torch.Tensor) -> None:
        if not broken:
            run(lanes, width, told[:2], stop)
            broken.append(told)
            raise RuntimeError("half-way")
        run(lanes, width, told, stop)

    step.run = breaks_off
    for i, asked in enumerate([{}, {"temperature": 0.9}]):
        engine.add(request(f"{i}", [3 + i, 4, 5 + 2 * i], max_tokens=23, ignore_eos=True, seed=i, **asked))
    log = Log().drain(engine)
    assert broken
    assert {name: tokens for (name, _), tokens in log.tokens.items()} == wanted
