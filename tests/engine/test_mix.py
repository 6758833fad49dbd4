"""Everything at once: requests that ask for random things each say in one batch what each of them says alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from rustinfer import LLM, SamplingParams, StructuredOutputsParams
from rustinfer.engine.bounds import NONE_LEFT
from rustinfer.outputs import Logprob, RequestOutput

from .tiny import load, replay, talking, with_graphs

Rng = random.Random
LETTERS = [ord(c) + 1 for c in "abcdefghij ."]
WISHES: dict[str, Callable[[Rng], dict[str, Any]]] = {
    "at random": lambda r: {"temperature": r.choice([0.7, 1.0, 3.0]), "top_p": r.choice([1.0, 0.9])},
    "top-k": lambda r: {"top_k": r.randrange(1, 40), "temperature": 1.0},
    "min-p": lambda r: {"min_p": 0.2, "temperature": 2.0},
    "typical": lambda r: {"typical_p": r.choice([0.3, 0.9]), "temperature": 1.5},
    "several": lambda r: {"n": r.randrange(2, 4), "temperature": 1.0},
    "best": lambda r: {"best_of": 3, "temperature": 1.0},
    "penalties": lambda r: {
        "presence_penalty": r.choice([0.0, 1.5]),
        "frequency_penalty": r.choice([0.0, 0.4]),
        "repetition_penalty": r.choice([1.0, 1.3]),
    },
    "scored": lambda r: {"logprobs": r.randrange(4)},
    "prompt scored": lambda r: {"prompt_logprobs": r.randrange(3)},
    "biased": lambda r: {"logit_bias": {r.choice(LETTERS): 8.0, 0: -50.0}},
    "allowed": lambda r: {"allowed_token_ids": LETTERS},
    "bad words": lambda r: {"bad_words_token_ids": [[r.choice(LETTERS)], [LETTERS[0], LETTERS[1]]]},
    "not too early": lambda r: {"min_tokens": r.randrange(1, 12)},
    "stop strings": lambda r: {"stop": [r.choice("abcdefgh"), "ij"], "include_stop_str_in_output": r.random() < 0.5},
    "stop tokens": lambda r: {"stop_token_ids": [r.choice(LETTERS), r.randrange(1, 250)]},
    "end ignored": lambda r: {"ignore_eos": True},
    "choice": lambda r: {"structured_outputs": StructuredOutputsParams(choice=["yes", "no", "perhaps"])},
    "expression": lambda r: {"structured_outputs": StructuredOutputsParams(regex="[a-h ]{5,30}")},
    "schema": lambda r: {
        "structured_outputs": StructuredOutputsParams(
            json={
                "type": "object",
                "properties": {"a": {"enum": [1, 2]}},
                "required": ["a"],
                "additionalProperties": False,
            }
        )
    },
}
Requests = list[tuple[dict[str, list[int]], SamplingParams]]


def drawn(seed: int, number: int = 60) -> Requests:
    """Prompts, some of which begin alike or repeat themselves, and for each some wishes."""
    rng, made = Rng(seed), []
    stems = [[rng.choice(LETTERS) for _ in range(40)] for _ in range(3)]
    for i in range(number):
        wishes: dict[str, Any] = {"temperature": 0.0, "seed": i, "max_tokens": rng.randrange(1, 24)}
        for name in rng.sample(sorted(WISHES), rng.choice([0, 1, 1, 2, 3, 4])):
            wishes |= WISHES[name](rng)
        wishes["min_tokens"] = min(wishes.get("min_tokens", 0), wishes["max_tokens"])
        if "best_of" in wishes:
            wishes["best_of"] = max(wishes["best_of"], wishes.get("n", 1))
        prompt = rng.choice(stems)[: rng.randrange(1, 40)]
        made.append(({"prompt_token_ids": prompt * (2 if rng.random() < 0.3 else 1)}, SamplingParams(**wishes)))
    return made


Said = list[tuple[Any, ...]]


def said(result: RequestOutput) -> Said:
    return [(o.token_ids, o.text, o.finish_reason, o.stop_reason) for o in result.outputs]


def scores(result: RequestOutput) -> list[Logprob]:
    rows = [row for output in result.outputs for row in output.logprobs or ()]
    rows += [row for row in result.prompt_logprobs or () if row]
    return [entry for row in rows for _, entry in sorted(row.items())]


def alike(one: RequestOutput, other: RequestOutput) -> None:
    if any(output.finish_reason == "error" for output in other.outputs):
        # How far the others of its sequences had come is a matter of steps.
        assert {o.stop_reason for o in one.outputs if o.finish_reason == "error"} == {NONE_LEFT}
        return
    assert said(one) == said(other)
    for a, b in zip(scores(one), scores(other), strict=True):
        assert math.isclose(a.logprob, b.logprob, abs_tol=1e-4)
        assert (a.rank, a.decoded_token) == (b.rank, b.decoded_token)


def alone(requests: Requests) -> list[RequestOutput]:
    """Each by itself, in one go, nothing cached, nothing guessed, nothing in flight."""
    with LLM.over(load(made=talking(), enable_prefix_caching=False, max_num_batched_tokens=128)) as llm:
        return [llm.generate(prompt, params, use_tqdm=False)[0] for prompt, params in requests]


GUESSING = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 1}
ENGINES: dict[str, dict[str, Any]] = {
    "roomy": {"max_num_seqs": 48, "max_num_batched_tokens": 256, "kv_cache_tokens": 8192},
    "guessing": {"max_num_seqs": 48, "max_num_batched_tokens": 256, "speculative_config": GUESSING},
    "chunked, preempted, guessing": {
        "max_num_batched_tokens": 24,
        "kv_cache_tokens": 112,
        "block_size": 4,
        "speculative_config": GUESSING,
    },
}


@pytest.fixture(scope="module", params=range(3))
def mix(request: pytest.FixtureRequest) -> tuple[Requests, list[RequestOutput]]:
    requests = drawn(request.param)
    return requests, alone(requests)


def test_the_mixes_have_all_there_is(mix: tuple[Requests, list[RequestOutput]]) -> None:
    requests, results = mix
    params = [params for _, params in requests]
    assert {o.finish_reason for result in results for o in result.outputs} >= {"stop", "length"}
    for name in ("structured_outputs", "logit_bias", "bad_words_token_ids", "stop", "logprobs", "prompt_logprobs"):
        assert any(getattr(each, name) for each in params), name
    assert any(each.n > 1 for each in params)
    assert any(each.presence_penalty or each.repetition_penalty != 1 for each in params)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("depth", "graphs"), [(0, False), (1, False), (1, True)], ids=["now", "ahead", "graphs"])
def test_each_says_what_it_says_alone(
    mix: tuple[Requests, list[RequestOutput]],
    name: str,
    depth: int,
    graphs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests, wanted = mix
    loaded = load(made=talking(), **ENGINES[name])
    if graphs:
        replay(monkeypatch)
        with_graphs(loaded, 1, 2, 4, 8)
    engine = loaded.engine
    engine.runner.depth = depth
    with LLM.over(loaded) as llm:
        results = llm.generate([p for p, _ in requests], [p for _, p in requests], use_tqdm=False)
        while engine.has_work:
            engine.step()
            engine.cache.check(list(engine.scheduler.sequences()))
    for one, other in zip(results, wanted, strict=True):
        alike(one, other)
    assert engine.cache.available == engine.cache.pool.total
    assert (engine.totals.accepted_tokens > 0) == ("speculative_config" in ENGINES[name])
    assert (engine.scheduler.preemptions > 0) == ("preempted" in name)
