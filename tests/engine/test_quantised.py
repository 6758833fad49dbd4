"""An engine whose weights are packed while they are loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rustinfer import LLM, SamplingParams
from rustinfer.flags import QUANTIZATIONS
from rustinfer.models.quantise import Quantised
from rustinfer.registry import dense

from .tiny import load, save, talking

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.mark.parametrize("scheme", QUANTIZATIONS)
def test_speaks_as_its_unpacked_weights_do(scheme: str, tmp_path: Path) -> None:
    path = str(save(tmp_path / "talking"))
    with LLM(path, quantization=scheme, device="cpu", threads=1, kv_cache_tokens=512, max_num_seqs=4) as llm:
        packed = llm.generate("hello", GREEDY)[0].outputs[0]
    made = talking()
    unpacked = {name: dense(weight) for name, weight in Quantised(made.weights, scheme).items()}
    with LLM.over(load(made=replace(made, weights=unpacked))) as llm:
        assert llm.generate("hello", GREEDY)[0].outputs[0].token_ids == packed.token_ids
