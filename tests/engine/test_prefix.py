"""What the prefix cache saves: second turns start at once, and the hits that are reported are those that there were."""

from __future__ import annotations

import random

import pytest
from torch import Tensor

from rustinfer import LLM, SamplingParams
from rustinfer.engine.build import load as load_model
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.models.llama import Stack
from rustinfer.models.model import Step
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
def test_the_second_turn_of_a_long_conversation_starts_after_an_eighth_of_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In tokens that the engine says it computed, and in rows that the model was given."""
    rng = random.Random(6)
    loaded = load_model("smollm2", Options(max_model_len=2048, max_num_seqs=2, kv_cache_tokens=8192), chores=False)
    totals, rows, forward = loaded.engine.totals, 0, Stack.__call__

    def counted(self: Stack, step: Step) -> Tensor:
        nonlocal rows
        rows += len(step.tokens)
        return forward(self, step)

    monkeypatch.setattr(Stack, "__call__", counted)
    with LLM.over(loaded) as llm:

        def work(ids: list[int]) -> tuple[int, int, list[int]]:
            before, given = totals.computed_tokens, rows
            sampling = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
            said = llm.generate({"prompt_token_ids": ids}, sampling, use_tqdm=False)[0].outputs[0].token_ids
            return totals.computed_tokens - before, rows - given, said

        prompt = [rng.randrange(100, 40000) for _ in range(1500)]
        *cold, said = work(prompt)
        *warm, _ = work(prompt + said + [rng.randrange(100, 40000) for _ in range(20)])
    assert all(first >= 1500 > 8 * second > 0 for first, second in zip(cold, warm, strict=True))
