"""Prompts as vectors: the mean of the hidden states or the last one, however the prompt was cut into chunks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rustinfer.engine.engine import Engine
from rustinfer.engine.sequence import Request
from rustinfer.protocol.messages import Pool
from rustinfer.protocol.sampling import SamplingParams

from .fakes import Log
from .test_runner import ask, load

PROMPT = [(7 * i) % 90 + 1 for i in range(41)]


def request(name: str, pool: Pool, prompt: list[int] = PROMPT) -> Request:
    return Request(name, prompt, SamplingParams(max_tokens=0, temperature=0.0), pool=pool)


def vectors(engine: Engine, *requests: Request) -> dict[str, list[float]]:
    for one in requests:
        engine.add(one)
    log = Log().drain(engine)
    assert not log.failed
    assert all(tokens == [] for (name, _), tokens in log.tokens.items() if not name.startswith("talk"))
    return {output.id: output.embedding for output in log.outputs if output.embedding is not None}


@pytest.fixture(scope="module")
def hidden() -> torch.Tensor:
    """The normed hidden states of the whole prompt, computed at once and caught on their way."""
    engine = load().engine
    caught = []
    inner = engine.runner.mixed.model.forward
    engine.runner.mixed.model.forward = lambda step: caught.append(inner(step)) or caught[-1]
    vectors(engine, request("a", "last"))
    assert len(caught) == 1
    return caught[0].float()


@pytest.mark.parametrize("tokens", [512, 16, 8, 10, 5])
def test_chunks_do_not_matter(hidden: torch.Tensor, tokens: int) -> None:
    """41 rows in chunks of 8, 10 and 5 leave one token over, which is a chunk of its own here."""
    engine = load(max_num_batched_tokens=tokens, max_num_seqs=4).engine
    found = vectors(engine, request("mean", "mean"), request("last", "last"))
    assert found["mean"] == pytest.approx(hidden.mean(0).tolist(), rel=1e-3, abs=1e-4)
    assert found["last"] == pytest.approx(hidden[-1].tolist(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("depth", [0, 1])
def test_beside_others_and_after_a_cached_prefix(hidden: torch.Tensor, depth: int) -> None:
    engine = load(max_num_batched_tokens=24).engine
    engine.runner.depth = depth
    ask(engine, "talk", PROMPT)
    Log().drain(engine)  # the prefix is cached now
    ask(engine, "talk2", PROMPT[:20], max_tokens=30)
    others = [request(f"short{i}", "mean", [5 + i]) for i in range(3)]
    found = vectors(engine, request("mean", "mean"), *others)
    assert found["mean"] == pytest.approx(hidden.mean(0).tolist(), rel=1e-3, abs=1e-4)
    assert len(found) == 4
    assert found["short0"] != found["short1"]


def test_nothing_is_pooled_where_nobody_asks() -> None:
    engine = load().engine
    assert vectors(engine, replace(request("a", "mean"), pool="")) == {}
