"""Grammars: what they allow, what is refused, and that neither the bad nor the many harm anybody."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rustinfer.engine import grammar as module
from rustinfer.engine import guidance
from rustinfer.engine.build import load
from rustinfer.engine.errors import RequestRefused
from rustinfer.engine.grammar import Grammar, Grammars, Matcher
from rustinfer.engine.grammar_check import GrammarCheck
from rustinfer.engine.grammar_worker import NICE
from rustinfer.engine.guidance import GrammarError
from rustinfer.engine.options import Options
from rustinfer.protocol.structured import Structured
from rustinfer.text import Tokenizer
from tests.conftest import Saw
from tests.text.vocabularies import byte_level

from .malformed import forms
from .tiny import save

TOKENIZER = Tokenizer(byte_level())
END = TOKENIZER.find("<|im_end|>")
VOCAB = TOKENIZER.vocab_size + 5  # models pad
SETUP = {"tokenizer": TOKENIZER.source, "vocab": VOCAB, "ends": [END]}
EXPLODES = Structured("regex", "(((a{1000}){1000}){1000})")
OBJECT = {"type": "object", "properties": {"n": {"enum": [3]}}, "required": ["n"]}
BOTH = [{"begin": "<f=a>", "schema": OBJECT, "end": "!"}, {"begin": "<f=b>", "schema": {"const": "x"}, "end": "!"}]
TAGGED = Structured("structural_tag", json.dumps({"structures": BOTH, "triggers": ["<f="]}))
ODD = {"begin": 'a\nb"\\é/<', "schema": {"const": True}, "end": "\n"}
QUOTED = Structured("structural_tag", json.dumps({"structures": [ODD], "triggers": ['a\nb"']}))
WIDE = json.dumps(
    {"type": "object", "properties": {f"k{i}": {"type": "string", "format": "date-time"} for i in range(200)}}
)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    assert END is not None
    return Grammars.of(TOKENIZER, VOCAB, [END])


def allowed(grammar: Grammar, text: str) -> set[str] | None:
    """What may follow the text, token by token; "<end>" for the end. None where the text itself does not fit."""
    place = grammar.start()
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        if not place.take(token):
            return None
    bits = np.zeros(-(-VOCAB // 32), np.int32)
    assert place.fill(bits)
    tokens = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
    return {
        "<end>" if token == END else TOKENIZER.token_bytes(int(token)).decode("utf-8", "replace") for token in tokens
    }


@pytest.mark.parametrize(
    ("form", "text", "next_"),
    [
        (Structured("choice", '["yes", "no"]'), "", {"y", "n"}),
        (Structured("choice", '["yes", "no"]'), "n", {"o"}),
        (Structured("choice", '["yes", "no"]'), "no", {"<end>"}),
        (Structured("choice", '["yes", "no"]'), "x", None),
        (Structured("regex", "a{2}b?"), "a", {"a"}),
        (Structured("regex", "a{2}b?"), "aa", {"b", "<end>"}),
        (Structured("grammar", 'start: "a" start | "b"'), "aa", {"a", "b"}),
        (Structured("grammar", 'root ::= "a" root | "b"'), "aab", {"<end>"}),
        (Structured("json_schema", '{"enum": [7]}'), "", {"7"}),
        (Structured("json_object"), "[", None),
        (TAGGED, "well <f=", {"a", "b"}),
        (TAGGED, "well <f=c", None),
        (TAGGED, '<f=a>{"n": ', {"3"}),
        (TAGGED, '<f=a>{"n": 3', {"}"}),
        (TAGGED, '<f=a>{"n": 3}', {"!"}),
        (TAGGED, '<f=a>{"n": 3}! and <f=b>"x"', {"!"}),
        (TAGGED, '<f=a>{"n": 3, ', None),
        (QUOTED, 'a\nb"', {"\\"}),
        (QUOTED, 'a\nb"\\é/<true', {"\n", "\n\n"}),
    ],
)
def test_what_may_follow(grammars: Grammars, form: Structured, text: str, next_: set[str] | None) -> None:
    found = allowed(grammars.compile(form).result(150), text)
    assert found == next_ or (found and next_ and next_ <= found and form.kind == "grammar")


def test_sequences_do_not_share_their_place(grammars: Grammars) -> None:
    grammar = grammars.compile(Structured("choice", '["ab", "ac"]')).result(150)
    one, other = grammar.start(), grammar.start()
    a, b = (TOKENIZER.encode(letter, add_special_tokens=False)[0] for letter in "ab")
    assert one.take(a)
    assert not other.take(b)
    assert one.take(b)


def test_t17_500_malformed_grammars(grammars: Grammars) -> None:
    errors = [grammars.compile(form).exception(150) for form in forms(500)]
    refused = [error for error in errors if isinstance(error, RequestRefused)]
    assert 200 < len(refused) == sum(error is not None for error in errors)
    assert {error.code for error in refused} == {"invalid_grammar", "grammar_too_complex"}
    assert all(len(str(error)) < 300 and "\n" not in str(error) for error in refused)
    assert allowed(grammars.compile(Structured("choice", '["yes"]')).result(150), "ye") == {"s"}


def test_t18_a_grammar_that_never_ends_is_killed(saw: Saw) -> None:
    """An explosive regular expression, with no patience for its compilation."""
    check = GrammarCheck(SETUP, patience=0.0)
    start = time.monotonic()
    for _ in range(2):
        with pytest.raises(GrammarError, match="takes more than 2 s") as caught:
            check(EXPLODES)
        assert caught.value.code == "grammar_too_complex"
    check.close()
    saw("its process was killed, twice: `grammar_too_complex`", time.monotonic() - start)


def test_t18_a_grammar_that_takes_too_much_dies_alone() -> None:
    check = GrammarCheck(SETUP, seconds=60, memory=16 << 20, patience=150)
    with pytest.raises(GrammarError, match="too much memory"):
        check(EXPLODES)
    assert check(Structured("regex", "a"))[1] < 1 << 20
    check.close()


def test_t18_a_grammar_that_takes_the_processor_is_ended_by_the_kernel() -> None:
    check = GrammarCheck(SETUP, seconds=0.0, memory=1 << 30, patience=150)
    check(Structured("regex", "a"))
    process = check._process
    assert process is not None
    # With no second to spare a grammar may still have the rest of the one that has begun.
    for n in range(900, 960):
        with pytest.raises(GrammarError, match="too complex"):
            check(Structured("regex", f"(((a{{{n}}}){{1000}}){{1000}})"))
        if process.returncode is not None:
            break
    assert process.returncode == -signal.SIGXCPU


def test_grammars_are_tried_by_one_thread_that_gives_way() -> None:
    check = GrammarCheck(SETUP)
    check(Structured("regex", "[a-z]+"))
    process = check._process
    assert process is not None
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(mine + NICE, 19)
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    check.close()


class Costly:
    """A place in a grammar whose masks take so many seconds each, and the clock that tells of them."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.now = list(seconds), 0.0

    def unsafe_compute_mask_ptr(self, at: int, size: int) -> None:
        self.now += self.seconds.pop(0)

    def thread_time(self) -> float:
        return self.now

    def is_error(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("seconds", "goes_on"),
    [
        ([0.001] * 100, 100),
        ([0.02, *[0.0] * 50, 0.02], 52),  # now and then a dear one
        ([0.05], 0),
        ([0.012] * 10, 3),  # all of them dear
    ],
)
def test_masks_may_not_take_too_much_of_everybodys_time(
    seconds: list[float], goes_on: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    costly = Costly(*seconds)
    monkeypatch.setattr(module, "time", costly)
    place = Matcher(costly)  # type: ignore[arg-type]
    bits = np.zeros(1, np.int32)
    filled = [place.fill(bits) for _ in seconds]
    assert filled.index(False) == goes_on if False in filled else goes_on == len(filled)


def test_the_first_mask_is_made_beside_the_steps(grammars: Grammars) -> None:
    grammar = grammars.compile(Structured("json_schema", WIDE)).result(150)
    costs = [_seconds(grammar.start()) for _ in range(50)]
    raw = guidance.LLMatcher(grammars._known, guidance.written(Structured("json_schema", WIDE)), limits=guidance.LIMITS)
    assert 5 * min(costs) < _seconds(Matcher(raw))


def _seconds(place: Matcher) -> float:
    start = time.thread_time()
    assert place.fill(np.zeros(-(-VOCAB // 32), np.int32))
    return time.thread_time() - start


def test_an_idle_server_has_learnt_what_its_tokens_are_before_the_first_grammar_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustinfer.engine.chores.SPELLED", 100)
    loaded = load(
        str(save(tmp_path / "tiny")), Options(max_num_seqs=2, kv_cache_tokens=256, device="cpu"), chores=False
    )
    assert len(loaded.engine.chores) == 3
    while loaded.engine.do_chore():
        pass
    monkeypatch.setattr(Tokenizer, "token", lambda *_: pytest.fail("it has not"))
    assert loaded.tokenizer is not None
    assert guidance.vocabulary(loaded.tokenizer, loaded.engine.admission.vocab, [0])


def test_others_go_on_while_one_is_compiled() -> None:
    gate = threading.Event()

    def slow(form: Structured) -> tuple[str, int]:
        gate.wait(150)
        raise GrammarError("invalid_grammar", "no")

    grammars = Grammars(lambda: None, [slow])  # type: ignore[arg-type, return-value]
    waiting = [grammars.compile(Structured("regex", f"a{i}")) for i in range(module.PENDING)]
    with pytest.raises(RequestRefused, match="wait to be compiled") as caught:
        grammars.compile(Structured("regex", "b"))
    assert caught.value.code == "overloaded"
    assert not any(future.done() for future in waiting)
    gate.set()
    assert all(isinstance(future.exception(150), RequestRefused) for future in waiting)


def test_t20_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch, saw: Saw) -> None:
    """2000 schemas, each another, to what remembers compiled grammars."""
    compiled = []

    def check(form: Structured) -> tuple[str, int]:
        compiled.append(form.text)
        raise GrammarError("invalid_grammar", "no")

    grammars = Grammars(lambda: None, [check])  # type: ignore[arg-type, return-value]
    for i in range(2000):
        grammars.compile(Structured("json_schema", json.dumps({"const": i}))).exception(150)
    assert len(grammars) <= module.ENTRIES
    for i in range(1990, 2000):  # a refusal is known, too
        grammars.compile(Structured("json_schema", json.dumps({"const": i}))).exception(150)
    assert len(compiled) == 2000
    monkeypatch.setattr(module, "BYTES", 20_000)
    grammars.compile(Structured("regex", "a")).exception(150)
    assert grammars.size <= 20_000
    saw(f"at most {module.ENTRIES} are kept, and so many bytes; nothing is written to a disk", None)
