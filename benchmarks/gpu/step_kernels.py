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

from rustinfer.cli.facts import save

from .driven import drain, fill, opened
from .profiled import by_kernel, profiled

STEPS, SHOWN = 16, 18


def measure(engine: Any, count: int) -> dict[str, Any]:
    """One number of sequences, half way through 128 tokens of answer."""
    fill(engine, count, made=64, answer=160)

    def steps() -> None:
        for _ in range(STEPS):
            engine.step()

    start = time.perf_counter()
    steps()
    step = (time.perf_counter() - start) / STEPS * 1e6
    kernels = by_kernel(profiled(steps), STEPS)
    drain(engine)
    total = sum(row["us"] for row in kernels.values())
    return {"step": round(step, 1), "kernels": round(total, 1), **dict(list(kernels.items())[:SHOWN])}


def main() -> None:
    """Print a table a count, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--rows", default="8,32,256", help="sequences, separated by commas")
    asked = parser.parse_args()
    engine = opened(asked.model).engine
    report: dict[str, Any] = {}
    for count in map(int, asked.rows.split(",")):
        report[f"{count} sequences"] = row = measure(engine, count)
        print(count, json.dumps(row, indent=1), flush=True)
    save(asked.out, report)


if __name__ == "__main__":
    main()
