"""What the decode kernel says beside what its parts say, on prompts of the default model with its weights in bfloat16.

python -m benchmarks.gpu.same_tokens --model FILE.gguf --out FILE

Greedy, 50 prompts of 256 tokens. Where the two part, the first token that differs is listed with the margin between the
two best log-probabilities that the composition had there: one under bfloat16's error decides nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rustinfer import LLM, SamplingParams
from rustinfer.engine.build import build
from rustinfer.engine.options import Options
from rustinfer.models.sources import open_checkpoint
from rustinfer.registry import Weight, dense, load_plugins

PROMPTS, TOKENS = 50, 256
TOPICS = (
    "The history of bread", "How a bicycle stays upright", "A letter to a landlord about a leak", "Why the sky is blue",
    "A short story about a lighthouse", "def quicksort(items):", "The rules of chess, in brief", "1, 1, 2, 3, 5, 8,",
    "Dear diary, today", "Ingredients for a tomato soup:",
)  # fmt: skip
FRAMES = ("{}", "{}. First,", "In one paragraph: {}", "{}, as told by a teacher:", "Q: {}?\nA:")


class Dense(Mapping[str, Weight]):
    """A checkpoint's weights, unpacked when looked up."""

    def __init__(self, source: Mapping[str, Weight]) -> None:
        self.source = source

    def __getitem__(self, name: str) -> Weight:
        return dense(self.source[name]).contiguous()

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __contains__(self, name: object) -> bool:
        return name in self.source


def said(model: str, pins: dict[str, str]) -> tuple[list[Any], list[str]]:
    """The results, with the two best at each token, and which kernels decode ran."""
    checkpoint = open_checkpoint(model, dtype=torch.bfloat16, device=torch.device("cuda"))
    checkpoint = replace(checkpoint, weights=Dense(checkpoint.weights))
    options = Options(device="cuda", max_num_seqs=8, max_model_len=2048, kv_cache_tokens=16384, pins=pins)
    with LLM.over(build(checkpoint, options, load_plugins())) as llm:
        kernels = sorted({f"{b.op.name}={b.backend}" for b in llm.bindings if b.target.decode})
        prompts = [frame.format(topic) for frame in FRAMES for topic in TOPICS][:PROMPTS]
        params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=2)
        return [r.outputs[0] for r in llm.generate(prompts, params, use_tqdm=False)], kernels


def main() -> None:
    """Run both, compare, and list where they part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    ours, kernels = said(given.model, {})
    theirs, parts = said(given.model, {"decode_step": "reference"})
    apart = []
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        at = next((i for i, pair in enumerate(zip(a.token_ids, b.token_ids, strict=True)) if len({*pair}) > 1), None)
        if at is not None:
            best = sorted((entry.logprob for entry in b.logprobs[at].values()), reverse=True)
            apart.append({"prompt": number, "token": at, "margin": best[0] - best[1]})
    agreed = sum(
        x == y for a, b in zip(ours, theirs, strict=True) for x, y in zip(a.token_ids, b.token_ids, strict=True)
    )
    report = {
        "gpu": torch.cuda.get_device_name(), "kernels": kernels, "parts": parts, "prompts": len(ours),
        "alike to the end": len(ours) - len(apart), "tokens at the same place alike": agreed, "apart": apart,
    }  # fmt: skip
    print(json.dumps({**report, "apart": None}), flush=True)
    print("margins where they part:", [round(row["margin"], 4) for row in apart], flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
