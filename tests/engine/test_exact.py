"""Greedy output is that of each request run alone, whatever runs beside it and however often it has to start again."""

from __future__ import annotations

import random

import pytest

from rustinfer.engine.build import Loaded
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.messages import Output
from rustinfer.protocol.sampling import SamplingParams

from .tiny import VOCAB, load

PAGE = 16
Prompts = dict[str, tuple[list[int], int]]
"""For each request its prompt and how many tokens to make."""


def drawn(number: int, seed: int, longest: int, most: int) -> Prompts:
    rng = random.Random(seed)

    def prompt() -> list[int]:
        return [rng.randrange(1, VOCAB) for _ in range(rng.randrange(1, longest))]

    return {str(i): (prompt(), rng.randrange(1, most)) for i in range(number)}


def start(sequences: int, tokens: int, pages: int, sharing: bool) -> Loaded:
    return load(
        Options(
            max_num_seqs=sequences,
            max_num_batched_tokens=tokens,
            kv_cache_tokens=pages * PAGE,
            block_size=PAGE,
            enable_prefix_caching=sharing,
            threads=1,
        )
    )


def run(loaded: Loaded, prompts: Prompts, scored: bool = False, streamed: bool = True) -> dict[str, list[Output]]:
    """What came of each request; every page is accounted for after every step, and none is in use in the end."""
    engine, said = loaded.engine, {name: [] for name in prompts}
    for name, (prompt, count) in prompts.items():
        params = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True, logprobs=2 if scored else None)
        engine.add(Request(name, prompt, params, streamed=streamed))
    while engine.has_work:
        for _, news in engine.step():
            assert isinstance(news, Output), news
            said[news.id].append(news)
        engine.cache.check(list(engine.scheduler.sequences()))
    assert engine.cache.available == engine.cache.pool.total
    return said


def words(said: dict[str, list[Output]]) -> dict[str, list[int]]:
    return {name: [token for each in outputs for token in each.token_ids] for name, outputs in said.items()}


def each_alone(prompts: Prompts) -> tuple[Prompts, dict[str, list[int]]]:
    """The requests, and what each says alone: both up to where the two best tokens are too close for fp32 to tell."""
    kept: Prompts = {}
    said: dict[str, list[int]] = {}
    for name, outputs in run(start(1, 128, 64, sharing=False), prompts, scored=True).items():
        scores = [entry for each in outputs for entry in each.logprobs or ()]
        close = [at for at, (_, best, *_) in enumerate(scores) if best[0][1] - best[1][1] < 1e-4]
        count = close[0] if close else len(scores)
        if count:
            kept[name] = prompts[name][0], count
            said[name] = words({name: outputs})[name][:count]
    return kept, said


def test_a_pool_a_quarter_of_what_is_needed_fails_nobody() -> None:
    prompts, alone = each_alone(drawn(256, seed=1, longest=60, most=180))
    assert len(prompts) > 250
    needed = sum(-(-(len(prompt) + count) // PAGE) for prompt, count in prompts.values())
    loaded = start(256, 512, needed // 4, sharing=True)
    assert words(run(loaded, prompts)) == alone
    assert loaded.engine.scheduler.preemptions > 0


@pytest.fixture(scope="module")
def mixed() -> tuple[Prompts, dict[str, list[int]]]:
    """32 identical requests between 64 different ones, and what each says alone."""
    made = drawn(64, seed=2, longest=60, most=90) | {"same": ([7, *range(20, 90)], 40)}
    prompts, alone = each_alone(made)
    names = [*(name for name in prompts if name != "same"), *(f"same {i}" for i in range(32))]
    random.Random(3).shuffle(names)
    of = {name: "same" if name.startswith("same") else name for name in names}
    return {name: prompts[of[name]] for name in names}, {name: alone[of[name]] for name in names}


@pytest.mark.parametrize(
    ("streamed", "depth"),
    [(False, 0), (False, 1), (True, 0)],
    ids=["prompts first", "first, ahead", "streamed"],
)
@pytest.mark.parametrize("preempted", [False, True], ids=["roomy", "preempted"])
@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("sharing", [False, True], ids=["no sharing", "sharing"])
def test_no_neighbour_changes_a_word(
    mixed: tuple[Prompts, dict[str, list[int]]],
    sharing: bool,
    chunked: bool,
    preempted: bool,
    streamed: bool,
    depth: int,
) -> None:
    prompts, alone = mixed
    loaded = start(*((48, 50) if chunked else (96, 512)), 44 if preempted else 800, sharing)
    loaded.engine.runner.depth = depth
    assert words(run(loaded, prompts, streamed=streamed)) == alone
    assert (loaded.engine.scheduler.preemptions > 0) == preempted
    assert (loaded.engine.totals.cached_tokens > 0) == sharing
