"""The default model in float32 against transformers over the same GGUF: every token, every log-probability."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rustinfer import LLM, SamplingParams
from rustinfer.models.sources import locate

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.model
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):",
    "Once upon a time, in a village by the sea,",
    "1, 1, 2, 3, 5, 8, 13,",
    "Die Hauptstadt von Deutschland ist",
    "Q: What is the boiling point of water?\nA:",
    "The three laws of robotics are",
    "import numpy as np\n\nx = np.",
    "Dear Sir or Madam,\n\nI am writing to",
    "In 1969, two astronauts",
    "苹果是",
    "Photosynthesis is the process by which",
    '{"name": "Ada", "age":',
    "Roses are red, violets are",
    "   indented text with   spaces",
    "The quick brown fox jumps over",
    "SELECT name, COUNT(*) FROM",
    "Café, naïve, façade and 😀 are",
    "A",
    "To be, or not to be, that is the question: " * 8,
]


@pytest.fixture(scope="module")
def theirs() -> Any:
    path = Path(locate("smollm2"))
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def ours() -> Iterator[LLM]:
    with LLM("smollm2", dtype="float32", max_model_len=1024) as llm:
        yield llm


@pytest.mark.timeout(900)
def test_greedy_tokens_and_log_probabilities_equal_transformers(ours: LLM, theirs: Any) -> None:
    params = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True, logprobs=1)
    for request in ours.generate(PROMPTS, params, use_tqdm=False):
        prompt, output = request.prompt_token_ids, request.outputs[0]
        with torch.inference_mode():
            logits = theirs(torch.tensor([[*prompt, *output.token_ids]])).logits[0, len(prompt) - 1 : -1]
        assert output.token_ids == logits.argmax(-1).tolist(), request.prompt
        want = logits.log_softmax(-1).gather(1, torch.tensor(output.token_ids)[:, None])[:, 0]
        got = torch.tensor([row[t].logprob for row, t in zip(output.logprobs, output.token_ids, strict=True)])
        assert (got - want).abs().max() < 1e-4, request.prompt


def test_tokens_equal_transformers(ours: LLM) -> None:
    path = Path(locate("smollm2"))
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for prompt in PROMPTS:
        assert ours.get_tokenizer().encode(prompt, add_special_tokens=False) == theirs.encode(
            prompt, add_special_tokens=False
        )
