from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from torch import Tensor

from rustinfer.engine import counts as module
from rustinfer.engine.counts import PROMPT, Counts
from rustinfer.engine.engine import Engine
from rustinfer.engine.sequence import Request, Sequence, State
from rustinfer.protocol.sampling import SamplingParams

from .fakes import Log
from .test_runner import ask, load, one

VOCAB = 20
CPU = torch.device("cpu")


def sequence(prompt: list[int]) -> Sequence:
    made = Sequence(Request("a", prompt, SamplingParams(presence_penalty=1.0)), 0, 0, 10**6, 0)
    made.state, made.computed = State.RUNNING, len(prompt)
    return made


def wanted(history: list[int], prompt: int) -> list[int]:
    said = Counter(history[prompt:])
    return [said[t] + PROMPT * (t in history[:prompt]) for t in range(VOCAB)]


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_lanes_hold_what_was_fed_whoever_comes_goes_or_is_tried_again(seed: int, late: int) -> None:
    """`late` tokens are known to the device alone when the next step is launched."""
    rng = random.Random(seed)
    counts, running, histories = Counts(VOCAB, CPU), [], {}
    for _ in range(300):
        if rng.random() < 0.2 and len(running) < 6:
            running.append(sequence([rng.randrange(VOCAB) for _ in range(rng.randrange(1, 12))]))
            histories[running[-1]] = list(running[-1].tokens)
        if rng.random() < 0.1 and running:
            running.pop(rng.randrange(len(running))).state = State.DONE
        batch = rng.sample(running, rng.randrange(len(running) + 1))
        rows = rng.sample(range(10), len(batch))
        newest = torch.full((10,), -7)  # what belongs to nobody must not be looked at
        for each, row in zip(batch, rows, strict=True):
            newest[row] = histories[each][-1]
        lanes = counts.lanes(batch)
        for _ in range(1 + (rng.random() < 0.2)):
            counts.follow(batch, rows, newest)
        for each, lane in zip(batch, lanes, strict=True):
            assert counts.table[lane].tolist() == wanted(histories[each], each.prompt)
            histories[each].append(rng.randrange(VOCAB))
            each.tokens.extend(histories[each][len(each.tokens) : len(histories[each]) - late])
            each.computed += 1
    assert len(counts.table) <= 16


def test_neither_bytes_nor_work_grow_with_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def moved(tensor: Tensor, device: torch.device) -> Tensor:
        sent.append(tensor.numel())
        return tensor

    monkeypatch.setattr(module, "moved", moved)
    short, long = sequence([1] * 4), sequence([i % VOCAB for i in range(4000)])
    for each in (short, long):
        counts = Counts(VOCAB, CPU)
        counts.lanes([each])
        counts.follow([each], [0], None)
        sent.clear()
        for token in range(5):
            each.tokens.append(token)
            each.computed += 1
            counts.follow([each], [0], None)
        assert sent == [3] * 5
        sent.clear()
        for token in range(5):
            each.computed += 1
            counts.follow([each], [0], torch.tensor([token]))
            each.tokens.append(token)
        assert sum(sent) <= 2  # the host does not know the tokens: it says once where they are


@pytest.fixture(params=[0, 1], ids=["landed at once", "one in flight"])
def engine(request: pytest.FixtureRequest) -> Engine:
    made = load(kv_cache_tokens=256).engine
    made.runner.depth = request.param
    return made


PENALTIES = {"frequency_penalty": 0.3, "presence_penalty": 0.4, "repetition_penalty": 1.3, "max_tokens": 40}


def test_penalised_sequences_say_the_same_in_any_company(engine: Engine) -> None:
    prompts = {f"{i}": [1 + 3 * i, 2, 3, 2][: 1 + i % 4] for i in range(10)}
    alone = {name: one(engine, name, prompt, **PENALTIES) for name, prompt in prompts.items()}
    preempted = engine.scheduler.preemptions
    for name, prompt in prompts.items():
        ask(engine, name, prompt, **PENALTIES)
        ask(engine, f"plain {name}", [5] * 40, max_tokens=30)
    log = Log().drain(engine)
    assert {name: log.tokens[name, 0] for name in prompts} == alone
    assert engine.scheduler.preemptions > preempted


def test_penalised_sequences_sit_out_no_step() -> None:
    engine = load().engine
    engine.runner.depth = 1
    ask(engine, "a", [1, 2, 3], **PENALTIES)
    ask(engine, "plain", [1, 2, 3], max_tokens=40)
    Log().drain(engine)
    assert engine.totals.steps == 40
