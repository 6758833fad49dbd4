"""Once warm, a decode step allocates nothing; packed weights speak as their unpacked ones do on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rustinfer import LLM, SamplingParams
from rustinfer.flags import QUANTIZATIONS
from rustinfer.models.quantise import Quantised
from rustinfer.registry import Weight, dense

from ..engine.tiny import load, talking

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


def test_decode_steps_allocate_nothing_on_the_gpu() -> None:
    made = talking()
    on_gpu = {name: weight.to("cuda") for name, weight in made.weights.items()}
    loaded = load(made=replace(made, weights=on_gpu), device="cuda", strict=True)
    outputs = loaded.workspace.pool_nbytes
    with LLM.over(loaded) as llm:
        asked_for(llm, 40)
        few, many = asked_for(llm, 40), asked_for(llm, 90)
        assert loaded.workspace.pool_nbytes == outputs > 0
    # A prompt's step makes its outputs anew; all the steps after it replay graphs.
    assert few == many
    assert many[1] == 0


def asked_for(llm: LLM, tokens: int) -> tuple[int, int]:
    """How often torch's allocator is asked for memory while so many tokens are made; and by how much it grows."""
    before = torch.cuda.memory_stats()
    llm.generate("warm up", replace(GREEDY, max_tokens=tokens))
    after = torch.cuda.memory_stats()
    keys = "allocation.all.allocated", "reserved_bytes.all.current"
    asked, held = (after[key] - before[key] for key in keys)
    return asked, held


@pytest.mark.parametrize("scheme", QUANTIZATIONS)
def test_packed_weights_speak_as_unpacked_ones(scheme: str) -> None:
    made = talking()
    packed: dict[str, Weight] = dict(Quantised(made.weights, scheme))
    on_gpu: dict[str, Weight] = {name: weight.to("cuda") for name, weight in packed.items()}
    unpacked: dict[str, Weight] = {name: dense(weight) for name, weight in packed.items()}
    with LLM.over(load(made=replace(made, weights=on_gpu), device="cuda", strict=True)) as llm:
        ours = [r.outputs[0].token_ids for r in llm.generate(["hello", "a longer prompt " * 6], GREEDY)]
    with LLM.over(load(made=replace(made, weights=unpacked), device="cpu")) as llm:
        theirs = [r.outputs[0].token_ids for r in llm.generate(["hello", "a longer prompt " * 6], GREEDY)]
    assert ours == theirs
