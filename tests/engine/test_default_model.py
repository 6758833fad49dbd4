"""The engine over the default model: what batching must not change, and what the engine's process may cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustinfer import LLM, SamplingParams
from rustinfer.protocol.messages import Welcome

from .test_main import Client, Process, generate

pytestmark = pytest.mark.model
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):",
    "Once upon a time",
    "Water boils at",
    "1, 2, 3,",
    "Dear Sir,",
]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("smollm2", dtype="float32", max_model_len=512, max_num_seqs=8, max_num_batched_tokens=24) as made:
        yield made


def test_a_chat_names_paris(llm: LLM) -> None:
    question = [{"role": "user", "content": "Name the capital of France."}]
    result = llm.chat(question, SamplingParams(temperature=0, max_tokens=20))[0].outputs[0]
    assert "Paris" in result.text
    assert result.finish_reason == "stop"
    assert "<|" not in result.text


def test_batches_chunks_and_hits_say_what_single_runs_say(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
    alone = [llm.generate(prompt, params)[0].outputs[0].token_ids for prompt in PROMPTS]
    together = llm.generate(PROMPTS * 3, params)
    assert [r.outputs[0].token_ids for r in together] == alone * 3
    sampled = SamplingParams(temperature=0.8, top_p=0.95, seed=7, max_tokens=16, ignore_eos=True)
    one = llm.generate(PROMPTS[0], sampled)[0].outputs[0].token_ids
    crowd = llm.generate(PROMPTS * 2, [sampled, *[SamplingParams(max_tokens=20, ignore_eos=True)] * 11])
    assert crowd[0].outputs[0].token_ids == one


def test_the_engine_process_stays_under_a_gigabyte(tmp_path: Path) -> None:
    made = Process(tmp_path, "smollm2")
    try:
        client = Client(made.address)
        client.read(Welcome)
        client.send(generate("a", list(range(1000, 1600)), 16))
        assert len(client.tokens("a")) == 16
        status = Path(f"/proc/{made.process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak
        assert int(peak[1]) * 1024 < 1_000_000_000
    finally:
        made.process.kill()
        made.process.wait()
