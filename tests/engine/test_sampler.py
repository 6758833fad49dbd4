"""Every parameter of a request changes its own tokens as it says, and nobody else's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import RequestRefused

from .fakes import Log
from .test_runner import ask, load, logits_of, one, prompts
from .tiny import VOCAB

PROMPT = [1, 2, 3]


@pytest.fixture(params=[0, 1], ids=["landed at once", "one in flight"])
def engine(request: pytest.FixtureRequest) -> Engine:
    made = load().engine
    made.runner.depth = request.param
    return made


def test_a_bias_decides(engine: Engine) -> None:
    assert one(engine, "a", PROMPT, logit_bias={77: 100.0}, max_tokens=5) == [77] * 5
    plain = one(engine, "b", PROMPT)
    assert plain[0] not in one(engine, "c", PROMPT, logit_bias={plain[0]: -100})
    assert one(engine, "d", PROMPT, logit_bias={5: 0.0}) == plain


def test_only_allowed_tokens_come(engine: Engine) -> None:
    allowed = [7, 31, 32, VOCAB - 1]
    found = one(engine, "a", PROMPT, allowed_token_ids=allowed, temperature=5.0, seed=1, max_tokens=60)
    assert set(found) == set(allowed)


def test_bad_words_do_not_come(engine: Engine) -> None:
    plain = one(engine, "plain", PROMPT, max_tokens=40)
    single = one(engine, "single", PROMPT, max_tokens=40, bad_words_token_ids=[plain[3:4]])
    assert plain[3] not in single
    assert single[:3] == plain[:3] or plain[3] in plain[:3]
    word = plain[5:8]
    until = next(i for i in range(6) if plain[i : i + 3] == word) + 2
    several = one(engine, "several", PROMPT, max_tokens=40, bad_words_token_ids=[word])
    assert several[:until] == plain[:until]
    assert not any(several[i : i + 3] == word for i in range(40))


def test_a_word_that_began_in_the_prompt_is_not_one(engine: Engine) -> None:
    plain = one(engine, "plain", PROMPT, max_tokens=3)
    assert one(engine, "a", PROMPT, max_tokens=3, bad_words_token_ids=[[3, plain[0]]]) == plain


def test_typical_sampling_leaves_few(engine: Engine) -> None:
    def variety(name: str, **params: Any) -> int:
        ask(engine, name, PROMPT, n=64, max_tokens=1, temperature=30.0, seed=0, **params)
        log = Log().drain(engine)
        return len({tokens[0] for (id, _), tokens in log.tokens.items() if id == name})

    assert variety("few", typical_p=0.05) < variety("all") / 2


def test_rows_that_ask_leave_the_others_alone(engine: Engine) -> None:
    asking: list[Mapping[str, Any]] = [
        {"logit_bias": {3: 50.0}},
        {"allowed_token_ids": [1, 2, 3], "temperature": 1.0},
        {"bad_words_token_ids": [[5], [6, 7]]},
        {"typical_p": 0.1, "temperature": 1.5},
        {"presence_penalty": 2.0, "logprobs": 5},
        {"min_tokens": 8, "ignore_eos": False},
        {"prompt_logprobs": 2},
        {"temperature": 0.7, "top_k": 5, "min_p": 0.1},
    ]
    plain = {name: one(engine, f"alone {name}", prompt) for name, prompt in list(prompts(8).items())}
    mine = [one(engine, f"alone {i}", PROMPT, seed=i, **params) for i, params in enumerate(asking)]
    for name, prompt in prompts(8).items():
        ask(engine, name, prompt)
        ask(engine, f"asks {name}", PROMPT, seed=int(name), **asking[int(name)])
    log = Log().drain(engine)
    assert {name: log.tokens[name, 0] for name in plain} == plain
    assert [log.tokens[f"asks {i}", 0] for i in range(8)] == mine


def test_no_token_left_fails_the_request_alone(engine: Engine) -> None:
    plain = one(engine, "plain", PROMPT)
    ask(engine, "stuck", PROMPT, allowed_token_ids=[5], bad_words_token_ids=[[5]], n=2)
    ask(engine, "a", PROMPT)
    ask(engine, "later", PROMPT, allowed_token_ids=[5], bad_words_token_ids=[[5, 5]])
    log = Log().drain(engine)
    assert {name: failed.code for name, failed in log.failed.items()} == {
        "stuck": "no_token_allowed",
        "later": "no_token_allowed",
    }
    assert log.tokens["a", 0] == plain
    assert log.tokens["later", 0] == [5]
    assert engine.cache.available == engine.cache.pool.total


@pytest.mark.parametrize(
    "params",
    [{"logit_bias": {VOCAB: 1}}, {"allowed_token_ids": [0, VOCAB]}, {"bad_words_token_ids": [[1], [2, VOCAB]]}],
    ids=str,
)
def test_tokens_that_there_are_not(params: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match=f"{next(iter(params))} holds {VOCAB}") as caught:
        ask(load().engine, "a", PROMPT, **params)
    assert caught.value.code == "out_of_vocabulary"


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 8}, {"kv_cache_tokens": 96}], ids=str)
@pytest.mark.parametrize("depth", [0, 1])
def test_prompt_log_probabilities(options: dict[str, Any], depth: int) -> None:
    loaded, prompt = load(**options), [1 + 7 * i % 100 for i in range(40)]
    loaded.engine.runner.depth = depth
    one(loaded.engine, "cached", prompt)
    ask(loaded.engine, "a", prompt, prompt_logprobs=2, n=2)
    for i in range(4):
        ask(loaded.engine, f"{i}", [50 + i] * 20)
    log = Log().drain(loaded.engine)
    outputs = [o for o in log.outputs if o.id == "a"]
    rows = [row for o in outputs for row in o.prompt_logprobs or []]
    assert all(o.index == 0 and o.token_ids == [] for o in outputs if o.prompt_logprobs)
    wanted = logits_of(loaded, prompt).log_softmax(-1)
    assert len(rows) == 39
    for (value, best, rank), score, token in zip(rows, wanted, prompt[1:], strict=False):
        assert math.isclose(value, score[token].item(), abs_tol=1e-4)
        assert rank == (score > score[token]).sum().item() + 1
        assert [i for i, _ in best] == score.topk(2).indices.tolist()
    assert log.tokens["a", 0] == log.tokens["a", 1] == one(loaded.engine, "again", prompt)
    assert next(o.cached_tokens for o in outputs if o.index == 0) == 0


@pytest.mark.parametrize("length", [1, 2, 9, 40])
@pytest.mark.parametrize("tokens", [8, 64])
def test_a_prompt_may_be_scored_without_going_on(engine: Engine, length: int, tokens: int) -> None:
    engine.scheduler.limits = type(engine.scheduler.limits)(8, tokens)
    ask(engine, "a", list(range(1, length + 1)), prompt_logprobs=0, max_tokens=0, n=2)
    log = Log().drain(engine)
    assert log.reasons == {("a", 0): "length", ("a", 1): "length"}
    assert log.tokens == {("a", 0): [], ("a", 1): []}
    assert sum(len(o.prompt_logprobs or []) for o in log.outputs) == length - 1
    assert engine.cache.available == engine.cache.pool.total


def test_many_prompt_rows_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(max_num_batched_tokens=200)
    sizes: list[int] = []
    model = loaded.engine.runner.mixed.model  # type: ignore[attr-defined]
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda hidden, rows: sizes.append(len(rows)) or logits(hidden, rows))
    ask(loaded.engine, "a", [1 + i % 90 for i in range(150)], prompt_logprobs=0, max_tokens=1)
    Log().drain(loaded.engine)
    assert sorted(sizes) == [1, 21, 64, 64]
