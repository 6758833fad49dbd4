"""What the prefix cache saves: second turns start at once, and the hits that are reported are those that there were."""

from __future__ import annotations

import random
import time

import pytest

from rustinfer import LLM, SamplingParams
from rustinfer.engine.build import load as load_model
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.messages import Output
from rustinfer.protocol.sampling import SamplingParams as Params

from .tiny import VOCAB, load

PAGE = 16


class Seen:
    """An independent count of hits: every page-long step of every text that was computed, remembered whole."""

    def __init__(self) -> None:
        self.known: set[tuple[int, ...]] = set()

    def hit(self, prompt: list[int]) -> int:
        """Tokens of this prompt that need not be computed; its last token always is."""
        pages = 0
        while (pages + 1) * PAGE < len(prompt) and tuple(prompt[: (pages + 1) * PAGE]) in self.known:
            pages += 1
        return pages * PAGE

    def add(self, computed: list[int]) -> None:
        self.known |= {tuple(computed[:end]) for end in range(PAGE, len(computed) + 1, PAGE)}


@pytest.mark.parametrize("sharing", [True, False])
def test_hits_match_an_independent_count(sharing: bool) -> None:
    loaded = load(kv_cache_tokens=65536, block_size=PAGE, enable_prefix_caching=sharing)
    engine, seen, rng, total = loaded.engine, Seen(), random.Random(5), 0
    talks: list[list[int]] = [[rng.randrange(1, VOCAB) for _ in range(40)] for _ in range(3)]
    for turn in range(60):
        talk = rng.choice(talks)
        prompt = (
            talk[: rng.randrange(1, len(talk) + 1)] + [rng.randrange(1, VOCAB) for _ in range(rng.randrange(20))]
        )[:180]
        engine.add(
            Request(str(turn), prompt, Params(temperature=0.0, max_tokens=rng.randrange(1, 30), ignore_eos=True))
        )
        news: list[Output] = []
        while engine.has_work:
            news += [each for _, each in engine.step() if isinstance(each, Output)]
        wanted = seen.hit(prompt) if sharing else 0
        assert {each.cached_tokens for each in news} == {wanted}
        total += wanted
        whole = prompt + [token for each in news for token in each.token_ids]
        seen.add(whole[:-1])  # the last token was drawn and never computed
        talks.append(whole)
    assert engine.totals.cached_tokens == total
    assert (total > 500) == sharing
    assert engine.totals.computed_tokens + total == engine.totals.prompt_tokens


@pytest.mark.model
def test_the_second_turn_of_a_long_conversation_starts_eight_times_sooner() -> None:
    """In tokens that are computed before it starts; of seconds, many cores and a tile unit need few for either."""
    rng = random.Random(6)
    loaded = load_model("smollm2", Options(max_model_len=2048, max_num_seqs=2, kv_cache_tokens=8192), chores=False)
    totals = loaded.engine.totals
    with LLM.over(loaded) as llm:

        def first_token(ids: list[int], count: int) -> tuple[float, list[int]]:
            start, first, said = time.perf_counter(), 0.0, []
            for delta in llm.stream(
                {"prompt_token_ids": ids}, SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
            ):
                first = first or time.perf_counter() - start
                said += delta.token_ids
            return first, said

        first_token([rng.randrange(100, 40000) for _ in range(100)], 2)
        prompt = [rng.randrange(100, 40000) for _ in range(1500)]
        before = totals.computed_tokens
        cold, said = first_token(prompt, 16)
        once = totals.computed_tokens
        again = prompt + said + [rng.randrange(100, 40000) for _ in range(20)]
        warm = min(first_token(again[: len(again) - left], 1)[0] for left in (1, 0))
        twice = totals.computed_tokens
    assert once - before >= 1500 > 8 * (twice - once)
    assert cold > 2 * warm, f"{cold * 1e3:.0f} ms and {warm * 1e3:.0f} ms"
