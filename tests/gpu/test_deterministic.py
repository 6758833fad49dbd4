"""`--deterministic` on a GPU: tokens and log-probabilities to the bit, whatever runs beside a sequence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer.engine.build import Loaded
from rustinfer.models.quantise import Quantised

from ..engine.fakes import Log, request
from ..engine.tiny import checkpoint, load

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
PROMPT = [1 + 5 * i % 97 for i in range(45)]
PARAMS: dict[str, dict[str, Any]] = {
    "greedy": {"logprobs": 3},
    "random": {"temperature": 1.0, "top_p": 0.9, "seed": 7, "logprobs": 3},
    "penalized": {"repetition_penalty": 1.3, "logprobs": 0},
}


def loaded(kind: str, **options: Any) -> Loaded:
    made, dtype = checkpoint(), torch.float32 if kind == "float32" else torch.bfloat16
    weights: dict[str, Any] = {name: weight.to("cuda", dtype) for name, weight in made.weights.items()}
    if kind == "int8":
        weights = {name: weight.to("cuda") for name, weight in Quantised(weights, kind).items()}
    asked = {"device": "cuda", "deterministic": True, "strict": True, "kv_cache_tokens": 4096, **options}
    return load(made=replace(made, dtype=dtype, weights=weights), **asked)


def said(engine: Any, others: int = 0) -> dict[str, Any]:
    """What three requests say, bit by bit, with so many others beside them."""
    names = list(PARAMS)
    for i in range(others):
        prompt = [3 + i % 50] * (1 + i % 40)
        engine.add(request(f"other {i}", prompt, max_tokens=8, temperature=1.0, seed=i, ignore_eos=True))
        if i < 3:
            engine.add(request(names[i], PROMPT, max_tokens=12, ignore_eos=True, **PARAMS[names[i]]))
    if not others:
        for name in names:
            engine.add(request(name, PROMPT, max_tokens=12, ignore_eos=True, **PARAMS[name]))
    log = Log().drain(engine)
    return {n: [(o.token_ids, o.logprobs) for o in log.outputs if o.id == n] for n in names}


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_byte_for_byte(kind: str) -> None:
    wanted = said(loaded(kind, enable_prefix_caching=False, max_num_seqs=1, max_num_batched_tokens=64).engine)
    assert all(wanted.values())
    for options in (
        {"max_num_seqs": 64, "max_num_batched_tokens": 2048},
        {"max_num_seqs": 64, "max_num_batched_tokens": 67},
        {"max_num_seqs": 8, "max_num_batched_tokens": 16, "enforce_eager": True},
        {"max_num_seqs": 64, "max_num_batched_tokens": 512, "kv_cache_tokens": 512},
    ):
        engine = loaded(kind, **options).engine
        assert said(engine, others=64) == wanted, options
        assert said(engine) == wanted, options  # their prompts are in the cache by now
