"""Masks that come too late for their step: the row sits out, and says in the end what it would have said at once."""

from __future__ import annotations

import time

import pytest

from rustinfer import LLM, SamplingParams, StructuredOutputsParams
from rustinfer.engine import masks

from .tiny import load, talking

PROMPTS = [[107, 99, 104, 98, 101][:size] for size in (1, 2, 5)]
SHORT = [[ord(letter) + 1] for letter in "abcdefghij ."]
BOUND = SamplingParams(
    temperature=0.0, max_tokens=6, structured_outputs=StructuredOutputsParams(choice=["yes", "no", "perhaps"])
)
FREE = SamplingParams(temperature=0.0, max_tokens=12)


def said(prompts: list[list[int]], **config: object) -> list[str]:
    """What each says beside the others, every second of them free to say anything."""
    params = [(BOUND, FREE)[i % 2] for i in range(len(prompts))]
    with LLM.over(load(made=talking(), enable_prefix_caching=False, **config)) as llm:
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        return [result.outputs[0].text for result in llm.generate(asked, params, use_tqdm=False)]


@pytest.mark.parametrize("each", [1, 2], ids=["every mask", "every second mask"])
@pytest.mark.parametrize("prompts", [[prompt] for prompt in PROMPTS + SHORT] + [PROMPTS * 2], ids=str)
def test_a_late_row_says_what_it_would_have_said_at_once(
    prompts: list[list[int]], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, made, late = said(prompts), 0, 0
    make, ask = masks.Masks._make, masks.late

    def slow(self: masks.Masks, token: int | None = None) -> object:
        nonlocal made
        made += 1
        if made % each == 0:
            begun = time.monotonic()
            while not late and time.monotonic() - begun < 20:  # the first is late, however slow the steps are
                time.sleep(0.001)
            time.sleep(0.005)
        return make(self, token)

    def counted(places: object) -> list[bool]:
        nonlocal late
        told = ask(places)  # type: ignore[arg-type]
        late += sum(told)
        return told

    monkeypatch.setattr(masks.Masks, "_make", slow)
    monkeypatch.setattr("rustinfer.engine.bounds.late", counted)
    assert said(prompts) == wanted
    assert late
