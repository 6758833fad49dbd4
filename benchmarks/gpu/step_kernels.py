"""A decode step by kernel: `python -m benchmarks.gpu.step_kernels --model llama-3.2-1b --rows 8,32,256 --out FILE`.

Sequences at a context of about 576 in the running engine, under torch's profiler: each kernel's microseconds a step and
how often it runs; and, without the profiler, the step as the host's clock sees it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from rustinfer.cli.facts import save
from rustinfer.engine.build import load
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.sampling import SamplingParams

STEPS, CONTEXT, SHOWN = 16, 512, 18


def fill(engine: Any, count: int) -> None:
    """So many sequences, half way through 128 tokens of answer."""
    params = SamplingParams(temperature=0.0, max_tokens=160, ignore_eos=True)
    source = torch.Generator().manual_seed(count)
    for i in range(count):
        engine.add(Request(f"{i}", torch.randint(10, 120000, (CONTEXT,), generator=source).tolist(), params))
    while engine.scheduler.waiting or any(q.generated < 64 for q in engine.scheduler.running):
        engine.step()


def profiled(engine: Any) -> dict[str, tuple[float, float]]:
    """Microseconds and runs a step, by kernel."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(STEPS):
            engine.step()
        torch.cuda.synchronize()
    took: dict[str, tuple[float, float]] = {}
    for e in profile.events():
        if "CUDA" in str(e.device_type):
            us, runs = took.get(e.name, (0.0, 0.0))
            took[e.name] = us + (e.time_range.end - e.time_range.start) / STEPS, runs + 1 / STEPS
    return dict(sorted(took.items(), key=lambda item: -item[1][0]))


def measure(engine: Any, count: int) -> dict[str, Any]:
    """One number of sequences."""
    fill(engine, count)
    start = time.perf_counter()
    for _ in range(STEPS):
        engine.step()
    step = (time.perf_counter() - start) / STEPS * 1e6
    kernels = profiled(engine)
    while engine.has_work:
        engine.step()
    total = sum(us for us, _ in kernels.values())
    found = {name[:120]: {"us": round(us, 1), "runs": round(n, 1)} for name, (us, n) in list(kernels.items())[:SHOWN]}
    return {"step": round(step, 1), "kernels": round(total, 1), **found}


def main() -> None:
    """Print a table a count, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--rows", default="8,32,256", help="sequences, separated by commas")
    asked = parser.parse_args()
    options = Options(device="cuda", load_format="dummy", max_model_len=9216, enable_prefix_caching=False)
    engine = load(asked.model, options).engine
    report: dict[str, Any] = {}
    for count in map(int, asked.rows.split(",")):
        report[f"{count} sequences"] = row = measure(engine, count)
        print(count, json.dumps(row, indent=1), flush=True)
    save(asked.out, report)


if __name__ == "__main__":
    main()
