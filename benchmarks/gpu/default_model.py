"""The default model on a GPU against the fp32 references on the CPU.

`python -m benchmarks.gpu.default_model --out FILE`. 50 prompts of 24 greedy tokens each. The GPU decodes them alone,
and is asked about every position of the reference's own text, too. Where it prefers another token, the reference's
margin (the gap between its two likeliest tokens, in nats) must be no larger than what bfloat16 changes a
log-probability by.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save
from rustinfer.registry import load_plugins

TOKENS = 24
STARTS = (
    "The capital of France is", "Once upon a time", "In 1969, humans first", "The quick brown fox",
    "To make bread you need", "Water boils at", "My favourite colour is", "The largest planet is", "def fibonacci(n):",
    "import numpy as np\n", "Dear Sir or Madam,", "Photosynthesis is the process", "The stock market fell",
    "A recipe for pancakes:", "She opened the door and", "The mitochondria is", "To be or not to be,",
    "The Treaty of Versailles", "Machine learning is", "He said that the train", "The best way to learn",
    "Roses are red,", "The speed of light is", "Once the king had", "A cat and a dog",
)  # fmt: skip
TAIL = " Explain in a few words why this matters, and give one example that a child would understand, please."
PROMPTS = [*STARTS, *(start + TAIL for start in STARTS)]


@dataclass
class Text:
    """What the references say: of each token its log-probability, and its margin to the second likeliest."""

    prompt: list[int]
    tokens: list[int]
    best: list[float]
    margins: list[float]


def reference(model: str = "smollm2") -> list[Text]:
    """In fp32, by the references alone, on the CPU."""
    pins = dict.fromkeys(load_plugins().registry.ops, "reference")
    sizes = {"max_model_len": 256, "max_num_seqs": len(PROMPTS), "max_num_batched_tokens": 512}
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=2)
    with LLM(model, device="cpu", dtype="float32", pins=pins, **sizes) as llm:  # type: ignore[arg-type]
        done = llm.generate(PROMPTS, params, use_tqdm=False)
    texts = []
    for result in done:
        said = result.outputs[0]
        pairs = [sorted((token.logprob for token in at.values()), reverse=True)[:2] for at in said.logprobs or ()]
        best, margins = [pair[0] for pair in pairs], [pair[0] - pair[1] for pair in pairs]
        texts.append(Text(list(result.prompt_token_ids), list(said.token_ids), best, margins))
    return texts


def compared(texts: list[Text], model: str = "smollm2", device: str = "cuda") -> dict[str, Any]:
    """What the GPU makes of them, strictly: no reference kernel runs there."""
    sizes = {"max_model_len": 512, "max_num_seqs": 64, "max_num_batched_tokens": 2048, "kv_cache_tokens": 65536}
    with LLM(model, device=device, strict=device == "cuda", **sizes) as llm:  # type: ignore[arg-type]
        return decoded(llm, texts) | asked(llm, texts)


def decoded(llm: LLM, texts: list[Text]) -> dict[str, Any]:
    """Decoding by itself: how many texts are the same, and the largest margin where one first differs."""
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    same, margin = 0, 0.0
    done = llm.generate([{"prompt_token_ids": text.prompt} for text in texts], params, use_tqdm=False)
    for result, text in zip(done, texts, strict=True):
        ours = result.outputs[0].token_ids
        first = next((i for i, pair in enumerate(zip(ours, text.tokens, strict=True)) if pair[0] != pair[1]), None)
        same, margin = same + (first is None), max(margin, 0.0 if first is None else text.margins[first])
    return {"texts": len(texts), "the same": same, "largest margin at a first difference": margin}


def asked(llm: LLM, texts: list[Text]) -> dict[str, Any]:
    """Every position of the references' texts: other choices, the largest margin among them, and the errors."""
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1)
    whole = [{"prompt_token_ids": text.prompt + text.tokens} for text in texts]
    others, margin, errors = 0, 0.0, []
    for result, text in zip(llm.generate(whole, params, False), texts, strict=True):
        for i, token in enumerate(text.tokens):
            at = (result.prompt_logprobs or [])[len(text.prompt) + i] or {}
            errors.append(abs(at[token].logprob - text.best[i]))
            if max(at, key=lambda t: at[t].logprob) != token:
                others, margin = others + 1, max(margin, text.margins[i])
    errors.sort()
    sure = sum(m > margin for text in texts for m in text.margins)
    return {"positions": len(errors), "other choices": others, "largest margin among them": margin,
            "positions with a larger margin": sure, "largest error": errors[-1],
            "median error": errors[len(errors) // 2]}  # fmt: skip


def main() -> None:
    """Print the comparison, and keep it. `--reference` is made once, where it is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reference", type=Path, default=Path(tempfile.gettempdir()) / "rustinfer-default-model.json")
    parser.add_argument("--model", default="smollm2")
    args = parser.parse_args()
    if not args.reference.exists():
        args.reference.write_text(json.dumps([asdict(text) for text in reference(args.model)]))
    result = compared([Text(**text) for text in json.loads(args.reference.read_text())], args.model)
    print(json.dumps(result, indent=1))
    save(args.out, result)


if __name__ == "__main__":
    main()
