"""Guessing ahead: what is said stays the same, in fewer steps."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from rustinfer import LLM, SamplingParams
from rustinfer.engine.build import Loaded
from rustinfer.engine.speculation import Speculation
from rustinfer.errors import UserError

from .fakes import Log
from .test_runner import ask, load, prompts
from .tiny import checkpoint

NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 1}


@pytest.mark.parametrize(
    ("tokens", "most", "guess"),
    [
        ([1, 2, 3, 9, 1, 2, 3], 9, [9, 1, 2, 3]),
        ([1, 2, 3, 9, 1, 2, 3], 2, [9, 1]),
        ([1, 2, 8, 7, 1, 2, 9, 7, 1, 2], 2, [9, 7]),  # the last time counts
        ([5, 5, 5, 5], 4, [5]),
        ([1, 7, 2, 3, 1, 7], 2, [2, 3]),
        ([4, 1, 2, 3, 1], 9, []),  # one token alone is too little
        ([1, 2, 3], 9, []),
        ([1], 9, []),
        ([256, 1, 2, 65536, 1, 2], 9, [65536, 1, 2]),
    ],
)
def test_the_last_earlier_place_tells(tokens: list[int], most: int, guess: list[int]) -> None:
    assert Speculation(prompt_lookup_min=2).guess(array("q", tokens), most) == guess


def test_bytes_that_only_look_alike_are_no_match() -> None:
    tokens = [1 << 8, 0, 1 << 8, 1, 0]
    assert Speculation(prompt_lookup_min=1).guess(array("q", tokens), 1) == [1 << 8]
    assert Speculation(prompt_lookup_min=1).guess(array("q", [256, 256 * 256, 1]), 1) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "write JSON"),
        ("[]", "method must be"),
        ({"method": "eagle"}, "method must be"),
        ({"method": "ngram", "num_speculative_tokens": 0}, "num_speculative_tokens must be an integer from 1 to 64"),
        ({"method": "ngram", "num_speculative_tokens": True}, "must be an integer"),
        ({"method": "ngram", "prompt_lookup_min": 5, "prompt_lookup_max": 2}, "at most prompt_lookup_max"),
        ({"method": "ngram", "model": "x"}, "'model' is not known"),
    ],
)
def test_mistakes(config: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Speculation.of(config)


def test_spellings() -> None:
    assert Speculation.of(None) is None
    assert Speculation.of('{"method": "ngram"}') == Speculation.of({"method": "ngram"}) == Speculation()


def both(depth: int, **options: Any) -> tuple[Loaded, Loaded]:
    """An engine that guesses, and one that does not."""
    made = load(speculative_config=NGRAM, **options), load(**options)
    for loaded in made:
        loaded.engine.runner.depth = depth
    return made


@pytest.mark.parametrize(
    "options",
    [{}, {"max_num_batched_tokens": 12}, {"kv_cache_tokens": 192}, {"enable_prefix_caching": False, "block_size": 1}],
    ids=str,
)
@pytest.mark.parametrize("depth", [0, 1])
def test_the_same_is_said_greedy_and_at_random(depth: int, options: dict[str, Any]) -> None:
    said, steps = [], []
    for loaded in both(depth, **options):
        log = Log()
        for name, prompt in prompts(16).items():
            shape = {"temperature": 0.6, "seed": int(name), "top_p": 0.9} if int(name) % 3 == 0 else {}
            ask(loaded.engine, name, prompt, max_tokens=40, **shape)
            log.read(loaded.engine)
        log.drain(loaded.engine)
        said.append(log.tokens)
        steps.append(loaded.engine.totals.steps)
        assert loaded.engine.cache.available == loaded.engine.cache.pool.total
    assert said[0] == said[1]
    assert all(len(tokens) == 40 for tokens in said[0].values())


def test_repetition_takes_fewer_steps_and_is_counted() -> None:
    guessing, plain = both(0)
    for loaded in (guessing, plain):
        ask(loaded.engine, "a", [1, 2, 3], max_tokens=100)
        assert len(Log().drain(loaded.engine).tokens["a", 0]) == 100
    totals = guessing.engine.totals
    assert 0 < totals.accepted_tokens <= totals.draft_tokens <= 4 * totals.drafts
    assert totals.steps + totals.accepted_tokens == plain.engine.totals.steps
    assert totals.generated_tokens == 100
    assert plain.engine.totals.drafts == 0


@pytest.mark.parametrize("depth", [0, 1])
def test_ends_and_limits_inside_a_guess(depth: int) -> None:
    guessing, plain = both(depth)
    ask(plain.engine, "a", [1, 2, 3], max_tokens=60)
    whole = Log().drain(plain.engine).tokens["a", 0]
    for stop in range(20, 44):
        ask(guessing.engine, f"{stop}", [1, 2, 3], max_tokens=stop)
        log = Log().drain(guessing.engine)
        assert log.tokens[f"{stop}", 0] == whole[:stop]
        assert log.reasons[f"{stop}", 0] == "length"
    last = next(i for i, token in enumerate(whole) if token not in whole[:i] and i > 3)
    ask(guessing.engine, "end", [1, 2, 3], max_tokens=60, stop_token_ids=[whole[last]])
    assert Log().drain(guessing.engine).tokens["end", 0] == whole[: last + 1]


def test_requests_that_look_at_their_tokens_do_not_guess() -> None:
    guessing, plain = both(0)
    shapes: list[dict[str, Any]] = [
        {"repetition_penalty": 1.2},
        {"logprobs": 2},
        {"bad_words_token_ids": [[5, 6]]},
        {"logit_bias": {5: 1.0}},
        {"min_tokens": 5},
    ]
    said = []
    for loaded in (guessing, plain):
        for i, shape in enumerate(shapes):
            ask(loaded.engine, f"{i}", [1, 2, 3], max_tokens=40, **shape)
        said.append(Log().drain(loaded.engine).tokens)
    assert said[0] == said[1]
    assert guessing.engine.totals.drafts == 0


@pytest.mark.parametrize("depth", [0, 1])
def test_numbers_that_are_not_finite_inside_a_guess(depth: int) -> None:
    made = checkpoint(tie_word_embeddings=False)
    head = made.weights["model.embed_tokens.weight"]
    embedding = head.clone()
    embedding[77] = float("nan")
    weights = {**made.weights, "lm_head.weight": head, "model.embed_tokens.weight": embedding}
    loaded = load(made=type(made)(**{**made.__dict__, "weights": weights}), speculative_config=NGRAM)
    loaded.engine.runner.depth = depth
    ask(loaded.engine, "fine", [1, 2, 3], max_tokens=30)
    wanted = Log().drain(loaded.engine).tokens["fine", 0]
    # The prompt suggests that token 77 follows; the guess is wrong, and what it leaves in the cache is written over.
    ask(loaded.engine, "fine again", [1, 2, 3], max_tokens=30)
    ask(loaded.engine, "bad", [wanted[0], 77, 5, wanted[0]], max_tokens=30)
    log = Log().drain(loaded.engine)
    assert log.tokens["fine again", 0] == wanted
    assert log.failed["bad"].code == "numerical_error"
    assert loaded.engine.cache.available == loaded.engine.cache.pool.total


@pytest.mark.model
@pytest.mark.parametrize("options", [{"dtype": "float32"}, {"deterministic": True}], ids=str)
def test_the_default_model_says_the_same(options: dict[str, Any]) -> None:
    text = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n"
    params = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True)
    with LLM("smollm2", max_model_len=256, **options) as plain:
        wanted = plain.generate(text, params)[0].outputs[0].token_ids
    with LLM("smollm2", max_model_len=256, speculative_config={"method": "ngram"}, **options) as guessing:
        assert guessing.generate(text, params)[0].outputs[0].token_ids == wanted
        totals = guessing._parts.engine.totals
    assert totals.accepted_tokens > 5
