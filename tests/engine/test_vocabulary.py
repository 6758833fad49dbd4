"""T22: whatever the vocabulary's size, no step of the engine draws a token outside of it."""

from __future__ import annotations

import pytest

from rustinfer.engine.sequence import Request
from rustinfer.protocol.messages import Output
from rustinfer.protocol.sampling import SamplingParams

from .tiny import checkpoint, load

WAYS = (
    SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True),
    SamplingParams(temperature=50.0, max_tokens=8, ignore_eos=True, seed=1),
    SamplingParams(temperature=5.0, top_k=40, top_p=0.9, max_tokens=8, ignore_eos=True, seed=2),
    SamplingParams(
        temperature=5.0, presence_penalty=2.0, frequency_penalty=-2.0, max_tokens=8, ignore_eos=True, seed=3
    ),
    SamplingParams(temperature=9.0, min_p=0.001, logprobs=3, max_tokens=8, ignore_eos=True, seed=4),
)


@pytest.mark.parametrize("prefer", ["cpu", "reference"])
@pytest.mark.parametrize("vocab", [1, 8191, 8193, 151_935, 151_937])
def test_t22_every_token_of_every_step_is_in_the_vocabulary(vocab: int, prefer: str) -> None:
    engine = load(made=checkpoint(vocab_size=vocab), prefer=(prefer,)).engine
    for i, way in enumerate(WAYS):
        engine.add(Request(str(i), [vocab - 1, 0, vocab // 2], way))
    drawn: list[int] = []
    while engine.has_work:
        for _, news in engine.step():
            assert isinstance(news, Output), news
            drawn += news.token_ids
            drawn += [key for _, best, _ in news.logprobs or () for key, _ in best]
    assert len(drawn) >= 8 * len(WAYS)
    assert 0 <= min(drawn) <= max(drawn) < vocab
