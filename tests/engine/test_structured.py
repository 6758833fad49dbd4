"""Structured output in the engine: over a tiny random model, which left alone would say anything."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import RequestRefused
from rustinfer.engine.grammar import Grammar, Matcher
from rustinfer.engine.sequence import Sequence
from rustinfer.protocol.structured import Structured
from tests.conftest import Saw

from .fakes import Log
from .malformed import forms
from .test_runner import ask, load, one
from .tiny import talking

PROMPT = [1, 2, 3]
SCHEMA = Structured(
    "json_schema",
    json.dumps(
        {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2]}},
            "required": ["ok", "n"],
            "additionalProperties": False,
            "x-guidance": {"whitespace_flexible": False},
        }
    ),
)


@pytest.fixture(scope="module")
def shared() -> Engine:
    return load(made=talking(), max_num_seqs=16).engine


@pytest.fixture(params=[0, 1], ids=["landed at once", "one in flight"])
def engine(request: pytest.FixtureRequest, shared: Engine) -> Engine:
    shared.runner.depth = request.param
    return shared


def text(tokens: list[int]) -> str:
    return bytes(token - 1 for token in tokens if token).decode()


def said(engine: Engine, form: Structured, **params: Any) -> list[str]:
    """What the sequences of one request say, each to its end."""
    wanted = {"temperature": 1.0, "seed": 1, "ignore_eos": False, "max_tokens": 60, **params}
    ask(engine, "a", PROMPT, structured_outputs=form, **wanted)
    log = Log().drain(engine)
    assert not log.failed
    assert set(log.reasons.values()) == {"stop"}
    return [text(log.tokens["a", i]) for i in range(wanted.get("n", 1))]


def test_a_schema(engine: Engine) -> None:
    found = [json.loads(each) for each in said(engine, SCHEMA, n=8, temperature=30.0)]
    assert all(type(each["ok"]) is bool and each["n"] in (1, 2) and len(each) == 2 for each in found)
    assert len({json.dumps(each) for each in found}) > 1


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        (Structured("choice", '["yes", "no"]'), "yes|no"),
        (Structured("regex", "[ab]{3}-[0-9]{2}"), "[ab]{3}-[0-9]{2}"),
        (Structured("grammar", 'start: "x" rest\nrest: "y" | "z" "!"'), "xy|xz!"),
    ],
)
def test_other_forms(engine: Engine, form: Structured, pattern: str) -> None:
    assert all(re.fullmatch(pattern, each) for each in said(engine, form, n=6))


def test_greedy_and_ends_that_are_ignored_or_come_too_early(engine: Engine) -> None:
    yes = Structured("choice", '["yes"]')
    assert said(engine, yes, temperature=0.0) == ["yes"]
    assert said(engine, yes, ignore_eos=True) == ["yes"]
    assert said(engine, yes, min_tokens=20) == ["yes"]
    letters = Structured("regex", "a*")
    assert all(len(each) >= 12 for each in said(engine, letters, min_tokens=12, n=4, logit_bias={0: 30}))


def test_allowed_tokens_and_bad_words_go_with_a_grammar(engine: Engine) -> None:
    form = Structured("regex", "[a-z]{5}")
    assert set("".join(said(engine, form, n=6, allowed_token_ids=[ord(c) + 1 for c in "abc"]))) <= set("abc")
    assert "a" not in "".join(said(engine, form, n=6, bad_words_token_ids=[[ord("a") + 1]]))
    ask(engine, "stuck", PROMPT, structured_outputs=form, allowed_token_ids=[5])
    assert Log().drain(engine).failed["stuck"].code == "no_token_allowed"


def test_masked_rows_in_a_mixed_batch_change_nobody_else(engine: Engine) -> None:
    plain = one(engine, "alone", PROMPT, max_tokens=30)
    wanted = said(engine, SCHEMA, n=3)
    for i in range(3):
        ask(engine, f"plain {i}", PROMPT, max_tokens=30)
    ask(engine, "s", PROMPT, structured_outputs=SCHEMA, temperature=1.0, seed=1, ignore_eos=False, max_tokens=60, n=3)
    log = Log().drain(engine)
    assert all(log.tokens[f"plain {i}", 0] == plain for i in range(3))
    assert [text(log.tokens["s", i]) for i in range(3)] == wanted


def test_a_preempted_sequence_keeps_its_place_in_the_grammar() -> None:
    engine = load(made=talking(), kv_cache_tokens=96).engine
    wanted = said(engine, Structured("regex", "([a-z]{10} ){5}"), max_tokens=60, n=3)
    assert engine.scheduler.preemptions > 0
    assert all(re.fullmatch("([a-z]{10} ){5}", each) for each in wanted)


@pytest.mark.parametrize("form", [Structured("regex", "("), Structured("json_schema", '{"$ref": "#"}')])
def test_a_bad_grammar_is_refused_and_others_go_on(engine: Engine, form: Structured) -> None:
    plain = one(engine, "alone", PROMPT)
    ask(engine, "bad", PROMPT, structured_outputs=form, n=3)
    ask(engine, "good", PROMPT)
    log = Log().drain(engine)
    assert log.failed["bad"].code in {"invalid_grammar", "grammar_too_complex"}
    assert log.tokens["good", 0] == plain
    assert engine.cache.available == engine.cache.pool.total


def test_t17_t19_500_malformed_grammars_between_good_ones(shared: Engine, saw: Saw) -> None:
    """500 malformed grammars, with a good one after every fiftieth, in an engine of its own."""
    shared.runner.depth = 0
    log = Log()
    for i, form in enumerate(forms(500, seed=1)):
        ask(shared, f"bad {i}", PROMPT, structured_outputs=form, max_tokens=2, temperature=1.0, seed=i)
        if i % 50 == 0:
            ask(shared, f"good {i}", PROMPT, structured_outputs=Structured("choice", f'["{i}"]'), ignore_eos=False)
        while len(shared.compiling) > 40:
            log.read(shared)
    log.drain(shared, 100_000)
    assert all(text(log.tokens[f"good {i}", 0]) == f"{i}" for i in range(0, 500, 50))
    assert {failed.code for failed in log.failed.values()} <= {"invalid_grammar", "grammar_too_complex"}
    assert len(log.failed) > 200
    assert shared.cache.available == shared.cache.pool.total
    saw(f"{len(log.failed)} refused with `invalid_grammar` or `grammar_too_complex`; the good ones were obeyed", None)


def test_a_grammar_that_explodes_in_use_fails_alone_and_costs_its_neighbour_little(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fill, filled = one(engine, "alone", PROMPT, max_tokens=150), Matcher.fill, list[int]()
    monkeypatch.setattr(Matcher, "fill", lambda self, bits: filled.append(threading.get_ident()) or fill(self, bits))
    deep = Structured("regex", "[a-z]{60}(((a{1000}){1000}){1000})")
    ask(engine, "deep", PROMPT, structured_outputs=deep, max_tokens=150, temperature=1.0, seed=1)
    while engine.compiling:
        engine.step()
    ask(engine, "beside", PROMPT, max_tokens=150)
    log = Log().drain(engine, 1_000_000)
    assert log.failed["deep"].code == "no_token_allowed"
    assert len(log.tokens["deep", 0]) > 20
    assert log.tokens["beside", 0] == plain
    assert filled
    assert threading.get_ident() not in filled, "the steps' own thread made a mask"


def test_nobody_waits_for_a_mask(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, plain = said(engine, SCHEMA, n=2), one(engine, "alone", PROMPT, max_tokens=40)
    gate, fill, log = threading.Event(), Matcher.fill, Log()
    monkeypatch.setattr(Matcher, "fill", lambda self, bits: gate.wait(150) and fill(self, bits))
    ask(engine, "a", PROMPT, structured_outputs=SCHEMA, temperature=1.0, seed=1, ignore_eos=False, max_tokens=60, n=2)
    while engine.compiling:
        engine.step()
    ask(engine, "beside", PROMPT, max_tokens=40)
    while log.reasons.get(("beside", 0)) is None:
        log.read(engine)
    assert not gate.is_set()
    assert set(log.tokens) == {("beside", 0)}
    gate.set()
    log.drain(engine)
    assert log.tokens["beside", 0] == plain
    assert [text(log.tokens["a", i]) for i in range(2)] == wanted


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_masks_that_are_late_change_no_token(engine: Engine, penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_all() -> None:
        for i in range(4):
            params = {"temperature": 1.0, "seed": i, "ignore_eos": False, "max_tokens": 60, "presence_penalty": penalty}
            ask(engine, f"a{i}", [*PROMPT, i], structured_outputs=SCHEMA, **params)
            ask(engine, f"b{i}", [*PROMPT, i], temperature=1.0, seed=i, max_tokens=40)

    ask_all()
    wanted = Log().drain(engine).tokens
    fill, again, source, late = Matcher.fill, engine.scheduler.again, random.Random(0), 0

    def slow(self: Matcher, bits: np.ndarray) -> bool:
        if source.random() < 0.4:
            before, begun = late, time.monotonic()
            while late == before and time.monotonic() - begun < 20:  # until a step has missed it, if any still comes
                time.sleep(0.001)
        return fill(self, bits)

    def count(sequence: Sequence) -> None:
        nonlocal late
        late += 1
        again(sequence)

    monkeypatch.setattr(Matcher, "fill", slow)
    monkeypatch.setattr(engine.scheduler, "again", count)
    ask_all()
    assert Log().drain(engine).tokens == wanted
    assert late > 10


class Never:
    """A compiler that takes for ever."""

    def __init__(self) -> None:
        self.futures: list[Future[Grammar]] = []

    def compile(self, form: Structured) -> Future[Grammar]:
        self.futures.append(Future())
        return self.futures[-1]


def test_nobody_waits_for_a_grammar_and_its_request_may_be_aborted() -> None:
    engine = load(made=talking()).engine
    engine.compiling.grammars = never = Never()
    ask(engine, "slow", PROMPT, structured_outputs=SCHEMA, n=2)
    ask(engine, "a", PROMPT)
    log = Log()
    while log.reasons.get(("a", 0)) is None:
        log.read(engine)
    assert engine.has_work
    engine.abort((b"", "slow"), 1)
    engine.abort((b"", "slow"))
    never.futures[0].set_result(None)  # type: ignore[arg-type]
    log.drain(engine)
    assert not engine.has_work
    assert set(log.tokens) == {("a", 0)}


def test_a_grammar_that_cannot_be_started_fails_its_request_alone() -> None:
    engine = load(made=talking()).engine
    engine.compiling.grammars = never = Never()
    ask(engine, "bad", PROMPT, structured_outputs=SCHEMA, n=2)
    ask(engine, "good", PROMPT)
    never.futures[0].set_result(None)  # type: ignore[arg-type]
    log = Log().drain(engine)
    assert log.failed["bad"].code == "internal_error"
    assert log.reasons["good", 0] == "length"


def test_a_model_without_a_tokenizer_refuses() -> None:
    with pytest.raises(RequestRefused, match="needs a tokenizer") as caught:
        ask(load().engine, "a", PROMPT, structured_outputs=SCHEMA)
    assert caught.value.code == "no_tokenizer"
