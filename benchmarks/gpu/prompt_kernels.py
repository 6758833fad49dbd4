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
from functools import partial
from pathlib import Path
from typing import Any

from rustinfer.cli.facts import save

from .driven import ask, drain, ids, opened
from .engine_profile import prompt
from .profiled import Span, by_kernel, profiled

RUNS = 5
SHOWN = 16


def run(engine: Any, tokens: int, source: random.Random) -> float:
    """One prompt and one token of answer: microseconds."""
    asked = ids(source, tokens)
    start = time.perf_counter()
    ask(engine, asked, 1)
    drain(engine)
    return (time.perf_counter() - start) * 1e6


def summed(spans: list[Span], whole: float) -> dict[str, Any]:
    """Kernels by the time they take, and the time in which nothing ran."""
    last, before = spans[0].start, ""
    gaps: list[tuple[float, str]] = []
    for name, start, end in spans:
        gaps.append((round(max(start - last, 0.0), 1), f"{before[:40]} -> {name[:40]}"))
        last, before = max(last, end), name
    span = last - spans[0].start
    kernels = {n: {**row, "share": round(row["us"] / span, 4)} for n, row in by_kernel(spans).items()}
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
    loaded = opened(asked.model)
    report: dict[str, Any] = {"model": asked.model, "start": str(loaded.phases)}
    source = random.Random(0)
    for tokens in map(int, asked.tokens.split(",")):
        whole = statistics.median(run(loaded.engine, tokens, source) for _ in range(2 * RUNS))
        spans = [profiled(partial(run, loaded.engine, tokens, source)) for _ in range(RUNS)]
        middle = sorted(spans, key=lambda s: max(end for *_, end in s) - s[0][1])[RUNS // 2]
        report[f"{tokens} tokens"] = found = summed(middle, whole)
        found["host, us"] = {name: round(took) for name, took in prompt(loaded.engine, tokens).items()}
        print(f"{tokens} tokens:", {name: found[name] for name in found if name != "kernels"}, flush=True)
        for kernel, row in list(found["kernels"].items())[:SHOWN]:
            print(f"  {row['us']:9.1f} us {row['runs']:5} x {row['share']:6.1%}  {kernel}", flush=True)
        save(asked.out, report)


if __name__ == "__main__":
    main()
