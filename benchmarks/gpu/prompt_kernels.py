"""A prompt by kernel: `python -m benchmarks.gpu.prompt_kernels --model llama-3.2-1b --out FILE`.

One prompt of so many tokens at a time through the running engine, under torch's profiler: each kernel's microseconds,
how often it runs, its share of the time from the first kernel's start to the last one's end, and the gaps in between;
and, without the profiler, the whole as the host's clock sees it, and the parts of its launch.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from rustinfer.cli.facts import save
from rustinfer.engine.build import load
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.sampling import SamplingParams

from .engine_profile import prompt

RUNS = 5
SHOWN = 16
Span = tuple[str, float, float]


def run(engine: Any, tokens: int, source: random.Random) -> float:
    """One prompt and one token of answer: microseconds."""
    ids = [source.randrange(10, 120000) for _ in range(tokens)]
    start = time.perf_counter()
    engine.add(Request(f"{source.random()}", ids, SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)))
    while engine.has_work:
        engine.step()
    return (time.perf_counter() - start) * 1e6


def profiled(engine: Any, tokens: int, source: random.Random) -> list[Span]:
    """Name, start and end, in microseconds, of what one prompt has the device do, in order."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run(engine, tokens, source)
        torch.cuda.synchronize()
    spans = [(e.name, e.time_range.start, e.time_range.end) for e in profile.events() if "CUDA" in str(e.device_type)]
    return sorted(spans, key=lambda span: span[1])


def summed(spans: list[Span], whole: float) -> dict[str, Any]:
    """Kernels by the time they take, and the time in which nothing ran."""
    took, runs, last, before = dict[str, float](), dict[str, int](), spans[0][1], ""
    gaps: list[tuple[float, str]] = []
    for name, start, end in spans:
        took[name] = took.get(name, 0.0) + end - start
        runs[name] = runs.get(name, 0) + 1
        gaps.append((round(max(start - last, 0.0), 1), f"{before[:40]} -> {name[:40]}"))
        last, before = max(last, end), name
    span = last - spans[0][1]
    order = sorted(took, key=lambda name: -took[name])
    kernels = {n[:110]: {"us": round(took[n], 1), "runs": runs[n], "share": round(took[n] / span, 4)} for n in order}
    idle, largest = round(sum(gap for gap, _ in gaps)), sorted(gaps, reverse=True)[:SHOWN]
    told = {"whole, us": round(whole), "device, us": round(span), "gaps, us": idle}
    return {**told, "largest gaps, us": largest, "kernels": kernels}


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--tokens", default="128,512,2048,8192")
    asked = parser.parse_args()
    sizes = {"max_model_len": 9216, "max_num_batched_tokens": 16384, "enable_prefix_caching": False}
    loaded = load(asked.model, Options(device="cuda", load_format="dummy", **sizes))  # type: ignore[arg-type]
    report: dict[str, Any] = {"model": asked.model, "start": str(loaded.phases)}
    source = random.Random(0)
    for tokens in map(int, asked.tokens.split(",")):
        whole = statistics.median(run(loaded.engine, tokens, source) for _ in range(2 * RUNS))
        spans = [profiled(loaded.engine, tokens, source) for _ in range(RUNS)]
        middle = sorted(spans, key=lambda s: max(end for *_, end in s) - s[0][1])[RUNS // 2]
        report[f"{tokens} tokens"] = found = summed(middle, whole)
        found["host, us"] = {name: round(took) for name, took in prompt(loaded.engine, tokens).items()}
        print(f"{tokens} tokens:", {name: found[name] for name in found if name != "kernels"}, flush=True)
        for kernel, row in list(found["kernels"].items())[:SHOWN]:
            print(f"  {row['us']:9.1f} us {row['runs']:5} x {row['share']:6.1%}  {kernel}", flush=True)
        save(asked.out, report)


if __name__ == "__main__":
    main()
