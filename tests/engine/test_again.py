"""A step that raises half-way is launched again, and nobody can tell by the tokens: whatever it had done by then."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

import rustinfer.engine
from rustinfer.engine.engine import Engine
from rustinfer.engine.plan import Plan
from rustinfer.engine.sampled import Flight

from .fakes import Log, request
from .tiny import load, replay, with_graphs

OURS = rustinfer.engine.__path__[0]
PLAIN: list[dict[str, Any]] = [{}, {"temperature": 0.9}, {"max_tokens": 5}]
STRIDE = 13
ASKED = {
    "one": PLAIN[:1],
    "plain": PLAIN,
    "penalised": [*PLAIN, {"repetition_penalty": 1.4, "frequency_penalty": 0.5, "temperature": 0.7}],
}
OPTIONS = {"several": {"pins": {"decode_tokens": "reference"}}}


class Injury:
    """Raises at the `call`-th call of a function of the engine in its `step`-th launch. `calls` there are, by step."""

    def __init__(self, engine: Engine) -> None:
        self.runner, self.launch = engine.runner, engine.runner.launch
        self.calls: list[int] = []
        self.step = self.call = -1
        engine.runner.launch = self.injured  # type: ignore[method-assign]

    def injured(self, plan: Plan) -> Flight:
        self.calls.append(0)
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            return self.launch(plan)
        finally:
            sys.settrace(before)

    def trace(self, frame: FrameType, event: str, arg: object) -> None:
        if not frame.f_code.co_filename.startswith(OURS) or frame.f_code.co_name == "<genexpr>":
            return
        self.calls[-1] += 1
        if (len(self.calls), self.calls[-1]) == (self.step, self.call):
            raise MemoryError("as told")


def said(engine: Engine, asked: list[dict[str, Any]]) -> dict[str, list[int]]:
    log = Log()
    for i, params in enumerate(asked):
        prompt = [3 + i, 4, 5 + 2 * i] * (1 + 4 * i)
        engine.add(request(f"{i}", prompt, **{"max_tokens": 9, "ignore_eos": True, "seed": i, **params}))
        log.read(engine)
    log.drain(engine)
    assert engine.cache.available == engine.cache.pool.total
    return {name: tokens for (name, _), tokens in log.tokens.items()}


@pytest.mark.parametrize("kind", ["plain steps", "graphs", "several"])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("depth", [0, 1])
def test_tokens_are_the_same_wherever_a_step_raises(
    depth: int, asked: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(enable_prefix_caching=False, **OPTIONS.get(kind, {}))
    if kind == "graphs":
        replay(monkeypatch)
        with_graphs(loaded, 1, 2, 4, 8)
    engine = loaded.engine
    engine.runner.depth = depth
    injury = Injury(engine)
    wanted, calls = said(engine, ASKED[asked]), list(injury.calls)
    wrong, tried = [], 0
    for step, count in enumerate(calls, 1):
        for call in range(1 + step % STRIDE, count + 1, STRIDE):
            injury.calls, injury.step, injury.call = [], step, call
            tried += 1
            if said(engine, ASKED[asked]) != wanted:
                wrong.append((step, call))
    assert tried > 5
    assert not wrong
