"""Several tokens in a launch of the decode kernel: the tokens of single steps, whatever ends them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer import LLM, SamplingParams
from rustinfer.engine.build import Loaded, load
from rustinfer.engine.options import Options

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("the decode kernel needs Hopper")
    sizes: dict[str, Any] = {"max_num_seqs": 8, "max_num_batched_tokens": 2048, "kv_cache_tokens": 16384}
    made = load("llama-3.2-1b", Options(load_format="dummy", device="cuda", enable_prefix_caching=False, **sizes))
    # Without its graph a step would take the kernel for more rows, whose sums are others.
    assert all(step.ready for step in made.engine.runner.decodes)  # type: ignore[attr-defined]
    return made


def said(loaded: Loaded, several: int, params: list[SamplingParams]) -> list[list[int]]:
    scheduler, draw = loaded.engine.scheduler, random.Random(4)
    assert scheduler.limits.few == 8
    scheduler.limits = replace(scheduler.limits, several=several, longer=2 * several if several > 1 else 1)
    loaded.engine.cache.pool.tidy()  # how a prompt's pages lie chooses how its attention reads them
    # All fit into one step; attention is split into more parts than one row's fair share of three rows, or of five.
    prompts = [
        {"prompt_token_ids": [draw.randrange(10, 120000) for _ in range(20 + 60 * i)]} for i in range(len(params))
    ]
    return [list(r.outputs[0].token_ids) for r in LLM.over(loaded).generate(prompts, params, use_tqdm=False)]


@pytest.mark.parametrize("count", [1, 3, 5, 8])
@pytest.mark.parametrize("temperature", [0.0, 0.9], ids=["greedy", "at random"])
def test_tokens_are_those_of_single_steps(temperature: float, count: int, loaded: Loaded) -> None:
    params = [SamplingParams(max_tokens=70 + i, seed=i, ignore_eos=True, temperature=temperature) for i in range(count)]
    assert said(loaded, 4, params) == said(loaded, 1, params)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_stop_tokens_end_what_they_end_in_single_steps(count: int, loaded: Loaded) -> None:
    stops: dict[str, Any] = {"temperature": 1.4, "stop_token_ids": list(range(0, 100000, 400))}
    params = [SamplingParams(max_tokens=70 + i, seed=i, ignore_eos=True, **stops) for i in range(count)]
    told, wanted = said(loaded, 4, params), said(loaded, 1, params)
    # Whoever has ended leaves single steps sooner than a launch: who stays then has other company, perhaps the kernel
    # for fewer rows, so that from there on the bits are not promised.
    first = min(map(len, wanted))
    assert first == min(map(len, told))
    assert [tokens[:first] for tokens in told] == [tokens[:first] for tokens in wanted]
    for tokens, asked in zip(told, params, strict=True):
        ends = [token % 400 == 0 and token < 100000 for token in tokens]
        assert not any(ends[:-1])
        assert ends[-1] or len(tokens) == asked.max_tokens


def test_a_stream_that_is_closed_leaves_nothing_behind(loaded: Loaded) -> None:
    llm, engine = LLM.over(loaded), loaded.engine
    for tokens in range(1, 12):
        stream: Any = llm.stream({"prompt_token_ids": [5, 6, 7]}, SamplingParams(max_tokens=400, ignore_eos=True))
        for _ in range(tokens):
            next(stream)
        stream.close()
    assert said(loaded, 4, [SamplingParams(temperature=0, max_tokens=9, ignore_eos=True)])
    assert engine.cache.available == engine.cache.pool.total
