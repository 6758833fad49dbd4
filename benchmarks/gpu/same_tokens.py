"""What the decode kernel says beside what its parts say, on prompts of the default model with its weights in bfloat16.

python -m benchmarks.gpu.same_tokens --model FILE.gguf --out FILE

Greedy, 50 prompts of 256 tokens. Where the two part, the first token that differs is listed with the margin between the
two best log-probabilities that the composition had there: one under bfloat16's error decides nothing. How large that is
the definitions tell, computed in fp32 for the same places: what each of the two errs by, and on whose side they are.
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
from rustinfer.cli.facts import save
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


def said(model: str, pins: dict[str, str]) -> tuple[list[Any], list[list[int]], list[str]]:
    """The results, with the two best at each token, of which prompts, and which kernels decode ran."""
    checkpoint = open_checkpoint(model, dtype=torch.bfloat16, device=torch.device("cuda"))
    checkpoint = replace(checkpoint, weights=Dense(checkpoint.weights))
    options = Options(device="cuda", max_num_seqs=8, max_model_len=2048, kv_cache_tokens=16384, pins=pins)
    with LLM.over(build(checkpoint, options, load_plugins())) as llm:
        kernels = sorted({f"{b.op.name}={b.backend}" for b in llm.bindings if b.target.decode})
        prompts = [frame.format(topic) for frame in FRAMES for topic in TOPICS][:PROMPTS]
        params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=2)
        done = llm.generate(prompts, params, use_tqdm=False)
        return [r.outputs[0] for r in done], [list(r.prompt_token_ids) for r in done], kernels


def judged(model: str, places: list[tuple[list[int], Any, Any]]) -> list[dict[str, float]]:
    """What fp32 says after each of these texts of the two tokens there, beside what each run said of its own."""
    checkpoint = open_checkpoint(model, dtype=torch.float32, device=torch.device("cuda"))
    checkpoint = replace(checkpoint, weights=Dense(checkpoint.weights))
    plugins = load_plugins()
    pins = dict.fromkeys(("linear", "lm_head", "rms_norm", "add_rms_norm", "rope", "silu_mul"), "reference")
    options = Options(device="cuda", max_num_seqs=8, max_model_len=2048, kv_cache_tokens=16384, pins=pins)
    with LLM.over(build(checkpoint, replace(options, enforce_eager=True), plugins)) as llm:
        params = SamplingParams(temperature=0, max_tokens=1, logprobs=20)
        texts: list[Any] = [{"prompt_token_ids": text} for text, _, _ in places]
        found = []
        for result, (_, ours, theirs) in zip(llm.generate(texts, params, use_tqdm=False), places, strict=True):
            true = {token: entry.logprob for token, entry in (result.outputs[0].logprobs or [{}])[0].items()}
            ranked = [max(said, key=lambda token: said[token].logprob) for said in (ours, theirs)]
            errors = [
                max((abs(e.logprob - true[t]) for t, e in said.items() if t in true), default=torch.inf)
                for said in (ours, theirs)
            ]
            margin = true.get(ranked[0], -torch.inf) - true.get(ranked[1], -torch.inf)
            found.append({"kernel errs by": errors[0], "parts err by": errors[1], "fp32 for the kernel by": margin})
        return found


def main() -> None:
    """Run both, compare, and list where they part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    ours, prompts, kernels = said(given.model, {})
    theirs, _, parts = said(given.model, {"decode_step": "reference"})
    apart, places = [], []
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        at = next((i for i, pair in enumerate(zip(a.token_ids, b.token_ids, strict=True)) if len({*pair}) > 1), None)
        if at is not None:
            best = sorted((entry.logprob for entry in b.logprobs[at].values()), reverse=True)
            apart.append({"prompt": number, "token": at, "margin": best[0] - best[1]})
            places.append((prompts[number] + list(b.token_ids[:at]), a.logprobs[at], b.logprobs[at]))
    for row, found in zip(apart, judged(given.model, places), strict=True):
        row.update(found)
    agreed = sum(
        x == y for a, b in zip(ours, theirs, strict=True) for x, y in zip(a.token_ids, b.token_ids, strict=True)
    )
    errors = {who: max((row[f"{who} by"] for row in apart), default=0.0) for who in ("kernel errs", "parts err")}
    report = {
        "gpu": torch.cuda.get_device_name(), "kernels": kernels, "parts": parts, "prompts": len(ours),
        "alike to the end": len(ours) - len(apart), "tokens at the same place alike": agreed,
        "largest error where they part": errors, "largest margin": max((row["margin"] for row in apart), default=0.0),
        "fp32 is for the kernel": sum(row["fp32 for the kernel by"] > 0 for row in apart), "apart": apart,
    }  # fmt: skip
    print(json.dumps({**report, "apart": None}), flush=True)
    for row in apart:
        print({key: round(value, 4) for key, value in row.items()}, flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save(given.out, report)


if __name__ == "__main__":
    main()
