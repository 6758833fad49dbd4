"""`--deterministic`: tokens and log-probabilities to the bit, whatever runs beside a sequence and however it is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer.engine.engine import Engine
from rustinfer.errors import UserError
from rustinfer.models.checkpoint import Checkpoint
from rustinfer.ops import linear
from rustinfer.registry import Backend, Requires, Target

from .fakes import Log
from .test_runner import ask, load
from .tiny import checkpoint

PROMPT = [1 + 5 * i % 97 for i in range(45)]
NAMES = ("greedy", "random", "penalized")
PARAMS: dict[str, dict[str, Any]] = {
    "greedy": {"logprobs": 3},
    "random": {"temperature": 1.0, "top_p": 0.9, "seed": 7, "logprobs": 3},
    "penalized": {"repetition_penalty": 1.3, "logprobs": 0},
}
BF16 = torch.bfloat16


def made(dtype: torch.dtype) -> Checkpoint:
    found = checkpoint()
    return replace(found, dtype=dtype, weights={name: w.to(dtype) for name, w in found.weights.items()})


def said(engine: Engine, others: int = 0) -> dict[str, Any]:
    """What three requests say, bit by bit, with so many others beside them."""
    for i in range(others):
        ask(engine, f"other {i}", [3 + i % 50] * (1 + i % 40), max_tokens=8, temperature=1.0, seed=i)
        if i < 3:
            ask(engine, NAMES[i], PROMPT, max_tokens=12, **PARAMS[NAMES[i]])
    if not others:
        for name in NAMES:
            ask(engine, name, PROMPT, max_tokens=12, **PARAMS[name])
    log = Log().drain(engine)
    return {n: [(o.token_ids, o.logprobs) for o in log.outputs if o.id == n] for n in NAMES}


@pytest.fixture(scope="module", params=[torch.float32, BF16], ids=["float32", "bfloat16"])
def alone(request: pytest.FixtureRequest) -> tuple[torch.dtype, dict[str, Any]]:
    """Each by itself, its prompt in one go, nothing cached."""
    engine = load(made=made(request.param), deterministic=True, enable_prefix_caching=False, max_num_seqs=1).engine
    return request.param, said(engine)


@pytest.mark.parametrize(
    ("options", "depth"),
    [
        ({"max_num_seqs": 64, "max_num_batched_tokens": 2048}, 0),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 67}, 1),
        ({"max_num_seqs": 8, "max_num_batched_tokens": 8}, 0),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 512, "kv_cache_tokens": 512, "block_size": 4, "threads": 2}, 1),
    ],
    ids=str,
)
def test_byte_for_byte(alone: tuple[torch.dtype, dict[str, Any]], options: dict[str, Any], depth: int) -> None:
    dtype, wanted = alone
    engine = load(made=made(dtype), **{"deterministic": True, "kv_cache_tokens": 4096, **options}).engine
    engine.runner.depth = depth
    assert said(engine, others=64) == wanted
    assert said(engine) == wanted  # their prompts are in the cache by now


def test_what_cannot_honour_it_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"lm_head.*reference.*--deterministic"):
        load(deterministic=True, pins={"lm_head": "reference"})
    for pins in ({"attention": "reference"}, {"linear": "torch"}):
        with pytest.raises(UserError, match="--deterministic"):
            load(deterministic=True, pins=pins, prefer=("torch",))


def test_a_kernel_that_claims_nothing_refuses_invariant_targets() -> None:
    loose = Backend("loose", requires=Requires("cpu"))
    loose.kernel(linear, build=True)(lambda target, *, weight, bias=None: None)
    target = Target.of("cpu", torch.float32)
    assert loose.kernels["linear"].refusal(target, {}) is None
    told = loose.kernels["linear"].refusal(replace(target, invariant=True), {})
    assert told
    assert "--deterministic" in told


def test_without_it_bits_differ(alone: tuple[torch.dtype, dict[str, Any]]) -> None:
    """Or the tests above could not fail."""
    if alone[0] is torch.float32:
        engine = load(
            made=made(torch.float32), max_num_seqs=64, max_num_batched_tokens=512, kv_cache_tokens=4096
        ).engine
        assert said(engine, others=64) != alone[1]
