"""Decode steps of fixed sizes over state that stays where it is, with graphs that are replaced by calls."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from rustinfer.engine.batch import Shape
from rustinfer.engine.build import Loaded
from rustinfer.engine.chores import ends
from rustinfer.engine.decoding import bucket_sizes, can_capture
from rustinfer.engine.engine import Chore, Engine
from rustinfer.engine.mixed import GRAIN, SHORT, crowds, shapes
from rustinfer.engine.plan import Chunk, Plan
from rustinfer.engine.sequence import Sequence
from rustinfer.registry import Binding

from .fakes import Log, request
from .tiny import VOCAB, load, replay, with_graphs


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    replay(monkeypatch)
    made = with_graphs(load(), 1, 2, 4, 8)
    made.engine.runner.depth = 1
    return made


def said(engine: Engine, asked: dict[str, dict[str, Any]]) -> dict[str, list[int]]:
    """What each request says when they come one step apart."""
    log = Log()
    for name, params in asked.items():
        rng = random.Random(name)
        prompt = [rng.randrange(1, VOCAB) for _ in range(rng.randrange(1, 40))]
        engine.add(request(name, prompt, **{"max_tokens": rng.randrange(2, 30), "ignore_eos": True, **params}))
        log.read(engine)
    return {name: tokens for (name, _), tokens in log.drain(engine).tokens.items()}


MIXES: dict[str, list[dict[str, Any]]] = {
    "greedy": [{}],
    "random": [{"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "seed": 3}, {"temperature": 1.0}, {}],
    "special": [{"logprobs": 2}, {"repetition_penalty": 1.3, "temperature": 0.7}, {}, {"min_tokens": 2}],
}


@pytest.mark.parametrize("mix", MIXES)
def test_graphs_change_nothing(mix: str, loaded: Loaded) -> None:
    kinds = MIXES[mix]
    asked = {f"{i}": {"seed": i, **kinds[i % len(kinds)]} for i in range(14)}
    assert said(loaded.engine, asked) == said(load().engine, asked)


def test_the_smallest_graph_that_fits_serves_and_the_draw_follows_what_is_asked(loaded: Loaded) -> None:
    runner: Any = loaded.engine.runner
    said(loaded.engine, {f"{i}": {"max_tokens": 6} for i in range(3)})
    used = {step.rows: [graph.replays for graph in step._graphs] for step in runner.decodes}
    assert used[8] == [1, 0, 0]  # while it was recorded
    assert used[4][0] > 1
    assert used[4][1] == used[4][0] - 1
    assert all(greedy == forward - 1 and not random for forward, greedy, random in used.values())
    said(loaded.engine, {"r": {"temperature": 1.0}})
    assert runner.decodes[0]._graphs.random.replays > 0


def test_nothing_is_sent_while_nothing_changes_but_what_the_device_knows(loaded: Loaded) -> None:
    engine, lanes = loaded.engine, loaded.engine.runner.lanes  # type: ignore[attr-defined]
    sent: list[int] = []
    send = lanes._staging.send
    lanes._staging.send = lambda items: (sent.append(items), send(items))
    engine.add(request("a", range(1, 17), max_tokens=40, ignore_eos=True))
    marks = []
    while engine.has_work:
        engine.step()
        marks.append(len(sent))
    # The first decode, then a page for every 16 tokens; what the prompt needs its graph has taken.
    assert marks[-1] == 1 + 2
    assert lanes.position.tolist() == lanes._position.tolist()


def test_running_sequences_have_the_first_lanes(loaded: Loaded) -> None:
    engine = loaded.engine
    for i in range(8):
        engine.add(request(f"{i}", [i + 1], max_tokens=3 + 4 * (7 - i), ignore_eos=True))
    log = Log()
    while engine.has_work:
        log.read(engine)
        running = engine.scheduler.running
        if engine.scheduler._rows._gaps is False:  # type: ignore[attr-defined]
            assert {q.row for q in running} == set(range(len(running)))
    alone = load().engine
    for i in range(8):
        alone.add(request(f"{i}", [i + 1], max_tokens=3 + 4 * (7 - i), ignore_eos=True))
    assert log.tokens == Log().drain(alone).tokens


def test_sizes_are_fine_for_few_lanes_and_end_with_the_most() -> None:
    assert bucket_sizes(1) == [1]
    assert bucket_sizes(6) == [1, 2, 4, 6]
    assert bucket_sizes(256)[-3:] == [192, 224, 256]
    assert bucket_sizes(1000)[-2:] == [960, 1000]


def test_what_a_graph_cannot_hold_is_named(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    good = next(b for b in loaded.bindings if b.capturable)
    bad = Binding(**{**vars(good), "site": "there", "capturable": False})
    assert can_capture([good])
    assert not caplog.records
    assert not can_capture([good, bad])
    assert "there" in caplog.text
    assert good.op.name in caplog.text


def test_a_lane_without_finite_logits_is_told_apart_and_keeps_a_token(loaded: Loaded) -> None:
    draw = loaded.engine.runner.mixed.plainly  # type: ignore[attr-defined]
    logits = torch.randn(4, 9)
    logits[1], logits[2, 3], logits[3] = torch.nan, torch.inf, -torch.inf
    tokens, told = draw(logits, None, torch.zeros(4, dtype=torch.int64))
    assert told.tolist() == [tokens[0].item(), -1, -1, -1]
    assert all(0 <= token < 9 for token in tokens.tolist())


def test_large_graphs_are_for_few_sequences_and_hardly_padded(loaded: Loaded) -> None:
    made = shapes(8192, 256, 9000)
    assert [s for s in made if s.tokens > 2048] == [Shape(8192, 16, True), Shape(4096, 16, True)]
    assert {s.tokens for s in made if s.last} == {512, 768, 1024, 1536, 2048, 4096, 8192}
    assert all(s.sequences * SHORT <= s.tokens for s in made if s.last)
    assert shapes(8192, 256, 4000)[0].tokens == 2048
    mixed = loaded.engine.runner.mixed  # type: ignore[attr-defined]
    mixed._graphs, mixed._grain = dict.fromkeys(sorted(made)), GRAIN
    plain = Sequence(request("a", [1]), 0, 0, 0, 0)
    whole = {
        tokens: mixed.shape(Plan([], [Chunk(plain, 0, tokens, True)])) for tokens in (8192, 7168, 7167, 4096, 1500)
    }
    assert {tokens: shape.tokens for tokens, shape in whole.items()} == {
        8192: 8192, 7168: 8192, 7167: 7168, 4096: 4096, 1500: 1536
    }  # fmt: skip


def test_sequences_of_steps_without_graphs_come_in_few_sizes_that_have_run_before(loaded: Loaded) -> None:
    runner: Any = loaded.engine.runner
    mixed, most = runner.mixed, runner.lanes.nobody
    mixed._graphs, mixed._grain = {}, GRAIN
    assert crowds(256) == [16, 32, 64, 128, 256, 272]
    assert crowds(8) == [16]
    waiting = [Sequence(request(f"{i}", [1]), 0, 0, 0, 0) for i in range(most)]
    assert {
        mixed.shape(Plan([], [Chunk(q, 0, 9, True) for q in waiting[:n]])).sequences for n in range(1, most + 1)
    } <= {*crowds(most)}
    asked: dict[str, dict[str, Any]] = {f"{i}": {"max_tokens": 5} for i in range(2)}
    before = [tensor.clone() for pair in runner.cache for tensor in pair]
    mixed.touch(GRAIN)
    assert all(map(torch.equal, before, [tensor for pair in runner.cache for tensor in pair]))
    assert said(loaded.engine, asked) == said(load().engine, asked)


def test_a_step_whose_every_row_is_looked_at_takes_no_graph_that_computes_last_rows_alone(loaded: Loaded) -> None:
    mixed = loaded.engine.runner.mixed  # type: ignore[attr-defined]
    mixed._graphs, mixed._grain = dict.fromkeys(sorted(shapes(2048, 8, 9000))), GRAIN
    plain, pool = Sequence(request("a", [1]), 0, 0, 0, 0), Sequence(replace(request("b", [1]), pool="mean"), 0, 0, 0, 0)
    assert mixed.shape(Plan([], [Chunk(plain, 0, 500, True)])) == Shape(512, 16, True)
    assert mixed.shape(Plan([], [Chunk(pool, 0, 500, True)])) == Shape(512, 16)
    assert mixed.shape(Plan([], [Chunk(pool, 0, 200, True)])) in mixed._graphs
    mixed._graphs = {}
    assert mixed.shape(Plan([], [Chunk(plain, 0, 63, True)])) == Shape(64, 16, True)
    assert mixed.shape(Plan([], [Chunk(plain, 0, 48, True)])) == Shape(48, 16)


def test_graphs_recorded_between_requests_leave_the_cache_alone(loaded: Loaded) -> None:
    runner: Any = loaded.engine.runner
    asked: dict[str, dict[str, Any]] = {f"{i}": {"max_tokens": 9} for i in range(5)}
    said(loaded.engine, asked)
    before = [tensor.clone() for pair in runner.cache for tensor in pair]
    for step in runner.decodes:
        step.warm_up()
    for shape in runner.mixed._graphs:
        runner.mixed.record(shape, (0, 0))
    assert all(map(torch.equal, before, [tensor for pair in runner.cache for tensor in pair]))
    assert said(loaded.engine, asked) == said(load().engine, asked)


def test_a_larger_graph_serves_until_the_fitting_one_is_there(loaded: Loaded) -> None:
    runner: Any = loaded.engine.runner
    for step in runner.decodes[:-1]:
        step._graphs = None
    asked = {"0": {"max_tokens": 6}}
    assert said(loaded.engine, asked) == said(load().engine, asked)
    assert runner.decodes[-1]._graphs.forward.replays > 1


def test_the_first_graph_and_the_one_with_the_most_memory_do_not_wait() -> None:
    calls: list[int] = []
    chores: list[Chore] = [partial(calls.append, i) for i in range(4)]
    for some in (chores, chores[:2], chores[:1], []):
        for chore in ends(some):
            chore()
    assert calls == [3, 0, 1, 0, 0]
