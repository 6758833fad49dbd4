"""One stream and small batches through `LLM`, by model and form of weights; one stream through `rustinfer serve`.

python -m benchmarks.gpu.streams --out FILE [--only llama-3.2-1b,llama-3.2-1b:int8,serve:llama-3.2-1b]

A stream is (time of 513 tokens - time of 1) / 512, as `rustinfer bench gpu` has it. Through the server an `openai`
client reads it: 511 tokens over the time from the first chunk to the last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from rustinfer import LLM
from rustinfer.cli.bench_gpu import Workloads
from rustinfer.cli.facts import save
from rustinfer.cli.spawned import Spawned

ALL = (
    "llama-3.2-1b", "llama-3.2-1b:int8", "llama-3.2-1b:int4", "serve:llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b",
)  # fmt: skip
SIZES = {"max_num_seqs": 8, "max_num_batched_tokens": 2560, "max_model_len": 4096}
RUNS = 3


def library(model: str, scheme: str) -> dict[str, Any]:
    """Tokens per second of one stream at two contexts, and of 2, 4 and 8 sequences."""
    asked = {"load_format": "dummy", "quantization": scheme or None, "enable_prefix_caching": False, **SIZES}
    with LLM(model, kv_cache_tokens=32768, **asked) as llm:
        used = {f"{b.op.name} for {b.target}" for b in llm.bindings if b.backend == "cuda"}
        work = Workloads(llm, RUNS)
        found: dict[str, Any] = {name: value for name, value, _ in work.stream()}
        for size in (2, 4, 8):
            prompts = [[work.prompt(128) for _ in range(size)] for _ in range(RUNS)]
            first = min(work.time(some, [1] * size)[0] for some in prompts)
            whole = statistics.median(work.time(some, [257] * size)[0] for some in prompts)
            found[f"{size} sequences, context 128"] = size * 256 / (whole - first)
        return {**found, "start, s": sum(llm.phases.values()), "cuda": sorted(used)}


def served(model: str) -> dict[str, Any]:
    """The same stream as an `openai` client sees it, token by token."""
    import openai

    flags = ["--load-format=dummy"]
    flags += [f"--{name.replace('_', '-')}={value}" for name, value in {**SIZES, "kv_cache_tokens": 32768}.items()]
    found: dict[str, Any] = {}
    with Spawned(model, flags) as child, openai.OpenAI(base_url=f"{child.url}/v1", api_key="none") as client:
        name = client.models.list().data[0].id
        for context in (128, 2048):
            rates, chunks = [], []
            for run in range(RUNS + 1):
                stream = client.completions.create(
                    model=name, prompt=[10 + (run * 7919 + i * 31) % 100000 for i in range(context)], max_tokens=513,
                    temperature=0, stream=True, stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
                )  # fmt: skip
                times = [time.perf_counter() for event in stream if event.choices]
                chunks.append(len(times))
                rates.append(512 / (times[-1] - times[0]))
            found[f"1 stream, context {context}"] = statistics.median(rates[1:])
            found[f"events of 513 tokens, context {context}"] = chunks[1:]
    return found


def main() -> None:
    """Run what is asked for; one that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(ALL))
    given = parser.parse_args()
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name in given.only.split(","):
        begun = time.time()
        try:
            served_model = name.removeprefix("serve:")
            report[name] = served(served_model) if served_model != name else library(*(name + ":").split(":")[:2])
        except Exception as error:
            report[name] = f"failed: {error!r}"
        print(f"{name}: {report[name]} ({time.time() - begun:.0f} s)", flush=True)
        torch.cuda.empty_cache()
        given.out.parent.mkdir(parents=True, exist_ok=True)
        save(given.out, report)


if __name__ == "__main__":
    main()
