"""An hour's worth of decode steps, and what they leave behind: `python -m benchmarks.gpu.hour --out FILE`.

One reader takes 20 tokens a second, so an hour of one stream is 72,000 steps. They go through the engine, in requests
of many lengths, drawn greedily and at a temperature, as fast as it makes them. Told each so many steps: the device's
memory in use, what torch's allocator has handed out and holds, and the process's resident memory.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from pathlib import Path
from typing import Any

import torch

from rustinfer.cli.facts import save
from rustinfer.engine.memory import measure

from .driven import ask, ids, opened

STEPS = 20 * 3600
LONGEST = 4000  # tokens of an answer
EVERY = 6000


def more(engine: Any, source: random.Random, number: int) -> None:
    """One more request, of some length."""
    prompt = ids(source, source.randint(20, 1000))
    ask(engine, prompt, source.randint(LONGEST // 4, LONGEST), 0.6 if number % 2 else 0.0)


def now(device: str) -> dict[str, int]:
    """What is held, in bytes, and how often torch's allocator was asked."""
    torch.cuda.synchronize()
    stats, memory = torch.cuda.memory_stats(), measure(device)
    return {
        "device": memory.device_used,
        "allocated": stats["allocated_bytes.all.current"],
        "reserved": stats["reserved_bytes.all.current"],
        "asked": stats["allocation.all.allocated"],
        "resident": memory.resident,
    }


def main() -> None:
    """Print a row each so many steps, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop then, whatever the steps")
    asked = parser.parse_args()
    engine = opened(asked.model, max_model_len=8192, max_num_seqs=max(asked.streams, 8)).engine
    source, begun, steps, requests = random.Random(0), time.perf_counter(), 0, 0
    rows: list[dict[str, Any]] = []
    while steps < asked.steps and time.perf_counter() - begun < asked.seconds:
        while len(engine.scheduler.running) + len(engine.scheduler.waiting) < asked.streams:
            requests += 1
            more(engine, source, requests)
        if steps % EVERY == 0:
            gc.collect()
            rows.append({"steps": steps, "seconds": round(time.perf_counter() - begun, 2), **now("cuda")})
            print(rows[-1], flush=True)
        engine.step()
        steps += 1
    rows.append({"steps": steps, "seconds": round(time.perf_counter() - begun, 2), **now("cuda")})
    grown = {key: rows[-1][key] - rows[1][key] for key in ("device", "allocated", "reserved", "resident")}
    print(rows[-1], "grown since the second row:", grown, flush=True)
    report = {"model": asked.model, "streams": asked.streams, "requests": requests, "steps": steps}
    save(asked.out, report | {"grown": grown, "rows": rows})


if __name__ == "__main__":
    main()
