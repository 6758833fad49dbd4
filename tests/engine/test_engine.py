"""The engine over a fake model whose words depend on every token that it reads back from the pages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import EngineDead, RequestRefused

from . import fakes
from .fakes import EOS, VOCAB, Log, alone, request

DEPTH = {"depth": 0}


@pytest.fixture(params=[0, 1, 2], autouse=True)
def steps_in_flight(request: pytest.FixtureRequest) -> None:
    """Everything holds however many steps are in flight."""
    DEPTH["depth"] = request.param


def engine(*args: int, **options: object) -> Engine:
    return fakes.engine(*args, **{**DEPTH, **options})  # type: ignore[arg-type]


def test_one_request_says_what_the_model_says() -> None:
    e = engine()
    e.add(request("a", [5, 6, 7], max_tokens=20))
    log = Log().drain(e)
    assert log.tokens["a", 0] == alone([5, 6, 7], 20)
    assert e.cache.available == 64
    assert not e.has_work


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    pages=st.integers(12, 40),
    seqs=st.integers(1, 8),
    tokens=st.integers(8, 24),
    sharing=st.booleans(),
    streams=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_no_batch_chunk_hit_or_preemption_changes_what_is_said(
    pages: int, seqs: int, tokens: int, sharing: bool, streams: float, seed: int
) -> None:
    rng = random.Random(seed)
    e = engine(pages, seqs, tokens, sharing)
    stems = [[rng.randrange(1, VOCAB) for _ in range(20)] for _ in range(3)]
    wanted, log = {}, Log()
    for i in range(24):
        prompt = rng.choice(stems)[: rng.randrange(1, 20)] + [rng.randrange(1, VOCAB) for _ in range(rng.randrange(3))]
        count, n = rng.randrange(1, 20), rng.randrange(1, 4)
        params = {"temperature": 1.0, "seed": 1000 * i} if rng.random() < 0.5 else {}
        params |= {"bad_words_token_ids": [[1, 2]]} if rng.random() < 0.3 else {}
        e.add(request(f"{i}", prompt, streamed=rng.random() < streams, max_tokens=count, n=n, **params))
        for k in range(n):
            wanted[f"{i}", k] = alone(prompt, count, 1000 * i + k if "seed" in params else 0)
        for _ in range(rng.randrange(4)):
            log.read(e)
            e.cache.check(list(e.scheduler.sequences()))
    log.drain(e)
    assert log.tokens == wanted
    assert e.cache.available == pages
    assert all(log.reasons.values())


@pytest.mark.parametrize("sharing", [False, True])
def test_free_pages_are_in_order_whenever_nobody_runs(sharing: bool) -> None:
    e = engine(tokens=6, sharing=sharing)
    for i in range(9):
        e.add(request(f"{i}", [i + 1] * 7, max_tokens=3 + i))
        if i % 4 == 0:
            e.abort((b"", f"{i}"))
    Log().drain(e)
    pages = e.cache.pool.take(len(e.cache.pool))
    assert pages == sorted(pages)


def test_pressure_preempts_and_fails_nobody() -> None:
    e = engine(pages=30, seqs=16, tokens=32)
    prompts = {f"{i}": [i + 1] * (5 + i % 7) for i in range(64)}
    for name, prompt in prompts.items():
        e.add(request(name, prompt, max_tokens=30, ignore_eos=True))
    log = Log().drain(e)
    assert e.scheduler.preemptions > 0
    assert not log.failed
    for name, prompt in prompts.items():
        tokens = list(prompt)
        for token in log.tokens[name, 0]:
            assert token == alone(tokens, 1)[0]
            tokens.append(token)
        assert len(tokens) == len(prompt) + 30


def test_reasons() -> None:
    e = engine(context=12)
    prompt = next([p] for p in range(1, 999) if EOS in alone([p], 8)[1:])
    said = alone(prompt, 8)
    e.add(request("eos", prompt, max_tokens=20))
    e.add(request("on", prompt, max_tokens=len(said) + 1, ignore_eos=True))
    e.add(request("stop", prompt, max_tokens=20, stop_token_ids=[said[0]]))
    e.add(request("context", [7] * 10, max_tokens=20, ignore_eos=True))
    e.add(request("none", prompt, max_tokens=0))
    log = Log().drain(e)
    assert (log.tokens["eos", 0], log.reasons["eos", 0]) == (said, "stop")
    assert log.tokens["on", 0][: len(said)] == said
    assert (len(log.tokens["on", 0]), log.reasons["on", 0]) == (len(said) + 1, "length")
    assert (log.tokens["stop", 0], log.reasons["stop", 0]) == (said[:1], "stop")
    assert [o.stop_reason for o in log.outputs if o.id == "stop"] == [said[0]]
    assert [o.stop_reason for o in log.outputs if o.id == "eos"] == [None] * len(said)
    assert (len(log.tokens["context", 0]), log.reasons["context", 0]) == (2, "length")
    assert (log.tokens["none", 0], log.reasons["none", 0]) == ([], "length")


@pytest.mark.parametrize(
    ("prompt", "params", "code", "says"),
    [
        ([], {}, "empty_prompt", "empty"),
        ([1, VOCAB], {}, "out_of_vocabulary", f"token id {VOCAB} is out of vocabulary"),
        ([-1], {}, "out_of_vocabulary", "token id -1"),
        ([1, -(1 << 63)], {}, "out_of_vocabulary", f"token id -{1 << 63}"),
        ([1, 1 << 63], {}, "out_of_vocabulary", f"token id {1 << 63}"),
        ([1] * 40, {}, "context_length_exceeded", "40 tokens and the context only 40"),
        ([1] * 20, {"max_tokens": 14}, "cache_too_small", "needs 33 tokens of cache and there are 32"),
        ([1] * 39, {"max_tokens": None}, "cache_too_small", "needs 39 tokens of cache and there are 32"),
    ],
)
def test_what_cannot_be_run_is_refused_with_numbers(prompt: list[int], params: dict, code: str, says: str) -> None:
    e = engine(pages=8, context=40)
    with pytest.raises(RequestRefused, match=says) as refusal:
        e.add(request("a", prompt, **params))
    assert refusal.value.code == code
    assert not e.has_work
    e.add(request("a", [1] * 20, max_tokens=13, ignore_eos=True))
    assert len(Log().drain(e).tokens["a", 0]) == 13


def test_without_a_wish_the_cache_bounds_the_answer() -> None:
    e = engine(pages=8, context=40)
    e.add(request("a", [1] * 20, max_tokens=None, ignore_eos=True))
    assert len(Log().drain(e).tokens["a", 0]) == 13


def test_ids_are_unique_per_owner_and_the_queue_is_bounded() -> None:
    e = engine(queue=2)
    e.add(request("a", [1], owner=b"x"))
    e.add(request("a", [1], owner=b"y"))
    with pytest.raises(RequestRefused, match="already running"):
        e.add(request("a", [1], owner=b"x"))
    with pytest.raises(RequestRefused, match="at most 2") as refusal:
        e.add(request("b", [1]))
    assert refusal.value.code == "overloaded"
    e = engine(queue=4)
    e.add(request("a", [1], n=3))  # one waits, two are held until its prompt is known
    with pytest.raises(RequestRefused, match="at most 4"):
        e.add(request("b", [1], n=2))


def test_abort_is_idempotent_at_every_stage_and_frees_everything() -> None:
    for steps in range(12):
        e = engine(tokens=4)
        log = Log()
        e.add(request("a", range(1, 11), n=3, max_tokens=4))
        e.add(request("b", [3, 4], max_tokens=8))
        for _ in range(steps):
            log.read(e)
        for _ in range(2):
            e.abort((b"", "a"))
            e.abort((b"", "unknown"))
            e.cache.check(list(e.scheduler.sequences()))
        heard = len([o for o in log.outputs if o.id == "a"])
        log.drain(e)
        assert len([o for o in log.outputs if o.id == "a"]) == heard
        assert log.tokens["b", 0] == alone([3, 4], 8)
        assert e.cache.available == 64


def test_one_sequence_of_several_can_be_aborted() -> None:
    for index in range(3):
        e = engine()
        e.add(request("a", range(1, 11), n=3, max_tokens=6, temperature=1.0, seed=5))
        e.abort((b"", "a"), index)
        log = Log().drain(e)
        others = set(range(3)) - {index}
        assert log.tokens == {("a", k): alone(range(1, 11), 6, 5 + k) for k in others}


def test_an_owner_that_vanishes_takes_only_its_own_requests_along() -> None:
    e = engine()
    for owner in (b"x", b"y"):
        for name in "ab":
            e.add(request(name, [1, 2, 3], owner=owner, max_tokens=5))
    e.disown(b"x")
    heard = set()
    while e.has_work:
        heard |= {(owner, news.id) for owner, news in e.step()}
    assert heard == {(b"y", "a"), (b"y", "b")}


def test_the_next_step_is_launched_before_the_last_one_is_read() -> None:
    e = engine(depth=1)
    e.add(request("a", [5, 6, 7], max_tokens=3, ignore_eos=True))
    told = [len(e.step()) for _ in range(4)]
    assert told == [0, 1, 1, 1]
    assert len(e.runner.steps) == 3  # none is wasted where the number of tokens tells the end


def test_whoever_needs_values_sits_out_until_its_token_is_known() -> None:
    e = engine(depth=1)
    e.add(request("free", [5], max_tokens=4, ignore_eos=True))
    e.add(request("careful", [6], max_tokens=4, ignore_eos=True, bad_words_token_ids=[[1, 2]]))
    Log().drain(e)
    assert e.runner.steps == [2, 1, 2, 1, 1, 1]


def test_a_page_that_a_flight_may_write_to_is_nobodys() -> None:
    e = engine(depth=1)
    e.runner.unsound = lambda chunk: chunk.start >= 3
    e.add(request("a", [1, 2, 3], max_tokens=9, ignore_eos=True))
    e.step()
    e.step()
    e.abort((b"", "a"))
    assert e.cache.available < 64
    e.cache.check(list(e.scheduler.sequences()))
    Log().drain(e)
    assert e.cache.available == 64
    assert e.runner.cleared
    assert not e.cache.tree.pages()


def test_a_flight_that_is_lost_fails_its_own_requests() -> None:
    e = engine()
    e.runner.unreadable = lambda plan: any(q.request.id == "bad" and q.drawing == 2 for q in plan.decodes)
    e.add(request("bad", [1, 2, 3], max_tokens=6, ignore_eos=True))
    log = Log().drain(e)
    assert log.failed["bad"].code == "internal_error"
    e.add(request("good", [1, 2, 3], max_tokens=6, ignore_eos=True))
    assert len(log.drain(e).tokens["good", 0]) == 6
    assert e.cache.available == 64


def test_an_exception_fails_only_the_request_that_causes_it() -> None:
    e = engine()
    e.runner.broken = lambda chunk: chunk.sequence.request.id == "bad" and chunk.sequence.drawing == 2
    for name in ("good", "bad", "fine"):
        e.add(request(name, [1, 2, 3], max_tokens=6, ignore_eos=True))
    log = Log().drain(e)
    assert list(log.failed) == ["bad"]
    assert log.failed["bad"].code == "internal_error"
    assert "kernel failed" not in log.failed["bad"].message
    assert log.reasons["good", 0] == log.reasons["fine", 0] == "length"
    assert e.cache.available == 64


def test_a_device_that_is_lost_ends_the_engine() -> None:
    class AcceleratorError(RuntimeError):
        pass

    def lost(chunk: object) -> bool:
        raise AcceleratorError("illegal access")

    e = engine()
    e.runner.broken = lost
    e.add(request("a", [1]))
    with pytest.raises(EngineDead, match="illegal access"):
        e.step()


def test_numbers_that_are_not_finite_fail_their_own_request_and_are_not_shared() -> None:
    e = engine()
    e.runner.unsound = lambda chunk: chunk.sequence.request.id == "bad" and chunk.sequence.index == 1
    e.add(request("bad", range(1, 10), n=3, max_tokens=6))
    e.add(request("good", range(1, 10), max_tokens=6))
    log = Log().drain(e)
    assert log.failed["bad"].code == "numerical_error"
    assert log.tokens["good", 0] == alone(range(1, 10), 6)
    assert e.runner.cleared
    assert e.cache.available == 64

    e = engine()
    e.runner.unsound = lambda chunk: True
    e.add(request("bad", range(1, 10), max_tokens=6))
    Log().drain(e)
    assert not e.cache.tree.pages()
    assert len(e.runner.cleared) == 3


def test_a_request_that_fails_takes_no_output_of_its_neighbours_along() -> None:
    class Stuck:
        ready = True

        def take(self, token: int) -> None:
            raise ValueError("secret")

    e = engine()
    for name in "abc":
        e.add(request(name, [ord(name)], max_tokens=6, ignore_eos=True))
    log = Log()
    while not all(q.generated > 1 for q in e.scheduler.running) or len(e.scheduler.running) < 3:
        log.read(e)
    e.scheduler.running[1].matcher = Stuck()  # type: ignore[assignment]
    log.drain(e)
    assert log.failed["b"].code == "internal_error"
    assert "secret" not in log.failed["b"].message
    assert [len(log.tokens[name, 0]) for name in "ac"] == [6, 6]
    assert e.cache.available == 64


def test_cached_tokens_are_reported_and_counted() -> None:
    e = engine()
    for name in "ab":
        e.add(request(name, range(1, 18), max_tokens=2, ignore_eos=True))
        log = Log().drain(e)
        assert {o.cached_tokens for o in log.outputs} == {0 if name == "a" else 16}
        assert {o.prompt_tokens for o in log.outputs} == {17}
    assert (e.totals.prompt_tokens, e.totals.cached_tokens, e.totals.generated_tokens) == (34, 16, 4)


def test_a_seed_of_its_own_for_each_request_and_sequence() -> None:
    e = engine(seqs=8)
    for name in "ab":
        e.add(request(name, [5], n=2, temperature=1.0, max_tokens=10, ignore_eos=True))
    assert len({tuple(t) for t in Log().drain(e).tokens.values()}) == 4


@pytest.mark.parametrize("again", [False, True])
def test_l4_an_abort_while_the_last_step_is_in_flight(again: bool) -> None:
    """L4: nothing more is said of the request, nothing is left of it, and its neighbour is not disturbed."""
    e, log = engine(depth=1), Log()
    e.add(request("a", [1, 2, 3], max_tokens=2, ignore_eos=True))
    e.add(request("b", [4, 5, 6], max_tokens=6, ignore_eos=True))
    while sum(len(ids) for (id, _), ids in log.tokens.items() if id == "a") < 1:
        log.read(e)  # the step of its second and last token is on its way now
    e.abort((b"", "a"))
    if again:
        e.add(request("a", [7, 8], max_tokens=3, ignore_eos=True))  # the name is free at once
    log.drain(e)
    heard = log.tokens["a", 0][1:]
    assert heard == (alone([7, 8], 3) if again else [])
    assert log.reasons["a", 0] == ("length" if again else None)
    assert log.tokens["b", 0] == alone([4, 5, 6], 6)
    assert not list(e.scheduler.sequences())
    assert e.cache.available == 64


def test_l8_every_choice_of_a_request_counts_in_the_queue() -> None:
    """L8: five may wait, so that n=3 leaves room for two and not for three."""
    e = engine(queue=5)
    e.add(request("a", [1], n=3))
    with pytest.raises(RequestRefused, match="try again later") as refusal:
        e.add(request("b", [1], n=3))
    assert refusal.value.code == "overloaded"
    with pytest.raises(RequestRefused):
        e.add(request("c", [1], n=2, best_of=3))
    e.add(request("d", [1], n=2))
    Log().drain(e)
    e.add(request("e", [1], n=5))


def test_all_prompts_of_a_request_are_taken_with_the_first_or_refused_with_it() -> None:
    e = engine(queue=5)
    first = replace(request("a", [1], n=2), together=6)
    with pytest.raises(RequestRefused, match="at most 5"):
        e.add(first)
    e.add(replace(first, together=4))
    e.add(request("b", [1], n=1))  # somebody else takes the last place
    e.add(replace(request("c", [1], n=2), together=-1))
    with pytest.raises(RequestRefused):
        e.add(request("d", [1]))
