"""The engine over a real, tiny, random Llama in float32: what is said depends on the request alone."""

from __future__ import annotations

import math
import random
import re
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer import ops
from rustinfer.engine.build import Loaded, build
from rustinfer.engine.engine import Engine
from rustinfer.engine.errors import EngineDead, UnknownArchitecture
from rustinfer.engine.options import Options
from rustinfer.models import Step
from rustinfer.registry import Backend, Requires, Target, Weight, dense

from .fakes import Log, request
from .tiny import VOCAB, checkpoint, load, plugins, replay, with_graphs


def prompts(count: int, seed: int = 0) -> dict[str, list[int]]:
    rng = random.Random(seed)
    stems = [[rng.randrange(1, VOCAB) for _ in range(50)] for _ in range(3)]
    return {
        f"{i}": rng.choice(stems)[: rng.randrange(1, 50)] + [rng.randrange(1, VOCAB) for _ in range(rng.randrange(9))]
        for i in range(count)
    }


def ask(engine: Engine, name: str, prompt: list[int], **params: Any) -> None:
    engine.add(request(name, prompt, **{"max_tokens": 12, "ignore_eos": True, **params}))


@pytest.fixture(scope="module")
def alone() -> dict[str, list[int]]:
    """Each prompt's continuation, run alone, in one go, nothing cached."""
    engine = load(enable_prefix_caching=False).engine
    return {name: one(engine, name, prompt) for name, prompt in prompts(24).items()}


def one(engine: Engine, name: str, prompt: list[int], **params: Any) -> list[int]:
    ask(engine, name, prompt, **params)
    return Log().drain(engine).tokens[name, 0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"enable_prefix_caching": False},
        {"max_num_batched_tokens": 8},
        {"max_num_batched_tokens": 17, "block_size": 4},
        {"kv_cache_tokens": 128},
        {"kv_cache_tokens": 96, "enable_prefix_caching": False, "max_num_batched_tokens": 32},
        {"max_num_seqs": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("depth", "graphs"), [(0, False), (1, False), (1, True)])
def test_batches_chunks_hits_and_preemptions_change_nothing(
    options: dict[str, Any],
    depth: int,
    graphs: bool,
    alone: dict[str, list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load(**options)
    if graphs:
        replay(monkeypatch)
        with_graphs(loaded, 1, 2, 4, 8)
    engine = loaded.engine
    engine.runner.depth = depth
    log = Log()
    for name, prompt in prompts(24).items():
        ask(engine, name, prompt)
        log.read(engine)
    log.drain(engine)
    assert {name: tokens for (name, _), tokens in log.tokens.items()} == alone
    assert engine.cache.available == engine.cache.pool.total
    if options.get("kv_cache_tokens", 1024) < 128:
        assert engine.scheduler.preemptions > 0


@pytest.mark.parametrize("depth", [0, 1])
def test_a_seed_gives_the_same_tokens_whatever_else_is_in_flight(depth: int) -> None:
    params = {"temperature": 0.9, "top_p": 0.95, "top_k": 50, "seed": 11}
    wanted = one(load().engine, "a", [1, 2, 3], **params)
    engine = load(kv_cache_tokens=256).engine
    engine.runner.depth = depth
    for name, prompt in prompts(12).items():
        ask(engine, name, prompt, temperature=1.0)
    ask(engine, "a", [1, 2, 3], **params)
    assert Log().drain(engine).tokens["a", 0] == wanted
    assert one(engine, "b", [1, 2, 3], **{**params, "seed": 12}) != wanted


def test_several_sequences_of_one_request_equal_single_ones_with_their_seeds() -> None:
    engine = load().engine
    prompt = list(range(1, 40))
    ask(engine, "n", prompt, n=4, temperature=1.0, seed=5)
    together = Log().drain(engine).tokens
    for i in range(4):
        assert one(engine, f"{i}", prompt, temperature=1.0, seed=5 + i) == together["n", i]
    assert len({tuple(t) for t in together.values()}) == 4


def test_log_probabilities_are_the_models_own() -> None:
    loaded = load()
    ask(loaded.engine, "a", [3, 4, 5], logprobs=3, temperature=0.7, repetition_penalty=1.5, max_tokens=6)
    ask(loaded.engine, "b", [9, 8], logprobs=0)
    ask(loaded.engine, "c", [7])
    log = Log().drain(loaded.engine)
    tokens = log.tokens["a", 0]
    scores = logits_of(loaded, [3, 4, 5, *tokens]).log_softmax(-1)[2:-1]
    rows = [o.logprobs for o in log.outputs if o.id == "a"]
    for token, score, row in zip(tokens, scores, rows, strict=True):
        assert row is not None
        (value, best, rank), top = row[0], score.topk(3)
        assert math.isclose(value, score[token].item(), abs_tol=1e-4)
        assert [i for i, _ in best] == top.indices.tolist()
        assert rank == (score > score[token]).sum().item() + 1
        assert torch.allclose(torch.tensor([v for _, v in best]), top.values, atol=1e-4)
    assert [len(o.logprobs[0][1]) for o in log.outputs if o.id == "b" and o.logprobs] == [0] * 12
    assert all(o.logprobs is None for o in log.outputs if o.id == "c")


def logits_of(loaded: Loaded, tokens: list[int]) -> torch.Tensor:
    """Every row's logits, computed in one go on pages that nobody uses."""
    model = loaded.engine.runner.mixed.model  # type: ignore[attr-defined]
    size = len(tokens)
    pages = torch.arange(-(-size // 16), dtype=torch.int32)[None]
    with torch.inference_mode():
        at = torch.arange(size)
        starts = torch.tensor([0, size], dtype=torch.int32)
        step = Step(torch.tensor(tokens), at, at, starts, torch.tensor([size], dtype=torch.int32), pages)
        return model.logits(model.forward(step), at)


@pytest.mark.parametrize("depth", [0, 1])
def test_penalties_see_prompt_and_output(depth: int) -> None:
    engine = load().engine
    engine.runner.depth = depth
    plain = one(engine, "plain", [1, 2, 3], max_tokens=40)
    assert len(set(plain)) < len(plain)
    varied = one(engine, "varied", [1, 2, 3], max_tokens=40, repetition_penalty=1e4)
    assert len({*varied, 1, 2, 3}) == 43


@pytest.mark.parametrize("depth", [0, 1])
def test_min_tokens_forbids_every_end_until_then(depth: int) -> None:
    engine = load().engine
    engine.runner.depth = depth
    free = one(engine, "free", [1, 2, 3], max_tokens=12)
    ended = one(engine, "ended", [1, 2, 3], ignore_eos=False, stop_token_ids=free[:1])
    assert ended == free[:1]
    later = one(engine, "later", [1, 2, 3], ignore_eos=False, stop_token_ids=[free[0], 10**6], min_tokens=5)
    assert len(later) >= 5
    assert not {0, free[0]} & set(later[:5])


@pytest.mark.parametrize("depth", [0, 1])
def test_a_row_that_is_not_finite_fails_alone_and_its_pages_are_cleaned(
    depth: int, alone: dict[str, list[int]]
) -> None:
    made = checkpoint(tie_word_embeddings=False)
    head = made.weights["model.embed_tokens.weight"]
    embedding = head.clone()
    embedding[77] = torch.nan
    made = replace(made, weights={**made.weights, "lm_head.weight": head, "model.embed_tokens.weight": embedding})
    engine = load(made=made, kv_cache_tokens=256).engine
    engine.runner.depth = depth
    clean = {name: p for name, p in prompts(24).items() if 77 not in p and 77 not in alone[name]}
    assert len(clean) > 10
    log = Log()
    for name, prompt in clean.items():
        ask(engine, name, prompt)
        ask(engine, f"bad {name}", [*prompt, 77])
        log.read(engine)
    log.drain(engine)
    assert set(log.failed) == {f"bad {name}" for name in clean}
    assert {f.code for f in log.failed.values()} == {"numerical_error"}
    for name in clean:
        assert log.tokens[name, 0] == alone[name]
    for keys, values in engine.runner.cache:  # type: ignore[attr-defined]
        assert keys.isfinite().all()
        assert values.isfinite().all()


def test_the_wiring_for_decoding_runs_exactly_the_steps_of_single_rows() -> None:
    loaded = load(max_num_seqs=4)
    calls: list[tuple[str, int]] = []
    runner = loaded.engine.runner
    for name, model in (("decode", runner.decodes[0].model), ("forward", runner.mixed.model)):  # type: ignore[attr-defined]
        run = getattr(model, name)
        setattr(model, name, lambda step, n=name, f=run: calls.append((n, len(step.tokens))) or f(step))
    ask(loaded.engine, "a", [1, 2, 3], max_tokens=3)
    Log().drain(loaded.engine)
    assert calls == [("forward", 3), ("decode", 1), ("decode", 1)]


def test_the_card_names_every_binding_of_both_wirings() -> None:
    loaded = load(served_model_name="little")
    assert (loaded.card.id, loaded.card.context, loaded.card.vocab_size) == ("little", 256, VOCAB)
    sites = {row.site for row in loaded.card.ops}
    assert {"lm_head", "model (decode)", "model.embed_tokens", "sampler", "draw", "place (decode)"} <= sites
    assert {row.op for row in loaded.card.ops} >= {"attention", "sample", "argmax", "penalize", "lm_head"}
    assert len(loaded.card.ops) == len(loaded.bindings)


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UnknownArchitecture, match="no installed plugin knows the architecture Foo; known: Llama"):
        load(made=checkpoint(architectures=["Foo"]))


def test_a_kernel_that_gave_up_ends_the_engine_before_its_tokens_are_told() -> None:
    giving_up = Backend("acme", requires=Requires("cpu"))
    words: list[str] = []

    @giving_up.kernel(ops.embedding, build=True)
    def embedding(target: Target, *, weight: Weight) -> Any:
        class Kernel:
            def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
                return dense(weight)[tokens]

            def fault(self) -> str | None:
                return next(iter(words), None)

        return Kernel()

    found = plugins()
    registry = copy(found.registry)
    registry.backends = {**registry.backends}
    registry._owners = {**registry._owners}
    registry.add_backend(giving_up, "acme-kernels")
    options = Options(max_num_seqs=8, max_num_batched_tokens=64, kv_cache_tokens=1024, threads=1, prefer=("acme",))
    engine = build(checkpoint(), options, replace(found, registry=registry)).engine
    ask(engine, "a", [1, 2, 3])
    log = Log()
    log.read(engine)
    told = dict(log.tokens)
    assert told
    words.append("it waited too long (2 rows)")
    with pytest.raises(EngineDead) as dead:
        log.drain(engine)
    assert log.tokens == told
    assert re.fullmatch(
        r"a kernel gave up: embedding at \S+, by back end acme of plugin acme-kernels for cpu in float32.*: "
        r"it waited too long \(2 rows\) \(a step of 1 tokens of 1 sequences; requests a\)",
        str(dead.value),
    )


def test_a_model_need_not_know_that_last_rows_alone_are_asked_for() -> None:
    wanted = one(load().engine, "a", list(range(3, 40)))
    engine = load().engine
    inner, rows = engine.runner.mixed.model.forward, []  # type: ignore[attr-defined]

    def every(step: Step) -> torch.Tensor:
        hidden: torch.Tensor = inner(replace(step, last=None))
        rows.append((step.last is not None, len(hidden)))
        return hidden

    engine.runner.mixed.model.forward = every  # type: ignore[attr-defined]
    assert one(engine, "a", list(range(3, 40))) == wanted
    assert rows == [(True, 37)]
