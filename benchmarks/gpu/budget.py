"""Where a workload's time goes by kind of step: `python -m benchmarks.gpu.budget --model llama-3.1-8b --out FILE`.

The workloads of `rustinfer bench gpu` (256 requests offline; batches of equal prompts), with an event behind each
launch: what lies between two of them is the step's time on the device, gaps included. Each in both orders, in turns:
prompts first, as `LLM.generate` has it, and streamed, as a server has it. A size that is given twice runs twice.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rustinfer.cli.facts import save

from .driven import ask, drain, ids, opened

Step = tuple[str, int, Any]
ORDERS = {"prompts first": False, "streamed": True}


def watch(runner: Any, steps: list[Step]) -> None:
    """Note each launch: its kind, its rows, and an event behind it."""
    launch = runner.launch

    def noted(plan: Any) -> Any:
        flight = launch(plan)
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        steps.append((kind(runner, plan), plan.tokens, event))
        return flight

    runner.launch = noted


def kind(runner: Any, plan: Any) -> str:
    """Decoding by how many lanes its graph has; prompts by how many rows theirs has, or none."""
    if not plan.chunks:
        return f"decode {next(d.rows for d in runner.decodes if d.rows >= runner.lanes.count)}"
    shape = runner.mixed.shape(plan)
    graph = "graph" if shape in runner.mixed._graphs else "eager"
    return f"prompts, {graph} of {shape.tokens if graph == 'graph' else shape.tokens // 4096 * 4096}"


def run(
    engine: Any, steps: list[Step], prompts: list[list[int]], outputs: list[int], temperature: float, streamed: bool
) -> Any:
    """Seconds by the host's clock, and by kind of step: how many, milliseconds in all, rows in all.

    In no step are what is done until all are asked, and what is left of the clock's time: what follows the last step.
    """
    torch.cuda.synchronize()
    steps.clear()
    first = torch.cuda.Event(enable_timing=True)
    start = time.perf_counter()
    for prompt, count in zip(prompts, outputs, strict=True):
        ask(engine, prompt, count, temperature, streamed=streamed)
    first.record()
    asking = (time.perf_counter() - start) * 1e3
    drain(engine)
    seconds = time.perf_counter() - start
    torch.cuda.synchronize()
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for name, rows, event in steps:
        found[name].append((first.elapsed_time(event), rows))
        first = event
    beside = seconds * 1e3 - asking - sum(ms for took in found.values() for ms, _ in took)
    told = {"seconds": round(seconds, 4), "tokens/s": round(sum(outputs) / seconds)}
    told |= {"asking, ms": round(asking, 2), "after all steps, ms": round(beside, 2)}
    return told | {
        name: {
            "steps": len(took),
            "ms": round(sum(ms for ms, _ in took), 2),
            "median": round(median(ms for ms, _ in took), 3),
            "longest": [round(ms, 2) for ms in sorted(ms for ms, _ in took)[-3:]],
            "rows": sum(rows for _, rows in took),
        }
        for name, took in sorted(found.items())
    }


def main() -> None:
    """Print each workload's table, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--batches", default="32,64,128,256")
    parser.add_argument("--offline", type=int, default=1, help="runs of 256 requests, the first at temperature 0.6")
    parser.add_argument("--kv-cache-tokens", type=int, help="fewer than fit, where others use the card")
    asked = parser.parse_args()
    loaded = opened(asked.model, max_num_seqs=256, kv_cache_tokens=asked.kv_cache_tokens)
    steps, source = list[Step](), random.Random(0)
    report: dict[str, Any] = {"model": asked.model, "start": str(loaded.phases)}
    print(report["start"], flush=True)
    watch(loaded.engine.runner, steps)
    orders = list(ORDERS.items())
    for size in [int(size) for size in asked.batches.split(",") if size]:
        prompts = [[ids(source, 512) for _ in range(size)] for _ in range(3)]
        one = run(loaded.engine, steps, prompts.pop(), [1] * size, 0.0, streamed=False)
        row = {"one token": one}
        for order, streamed in orders:
            row[order] = run(loaded.engine, steps, prompts.pop(), [129] * size, 0.0, streamed)
            row[f"{order}, tokens/s"] = round(size * 128 / (row[order]["seconds"] - one["seconds"]))
        orders.reverse()
        report.setdefault(f"batch of {size}", []).append(row)
        print(size, json.dumps(row, indent=1), flush=True)
    for number in range(asked.offline):
        source = random.Random(0)
        prompts = [ids(source, source.randint(100, 1024)) for _ in range(256)]
        outputs = [source.randint(100, 1024) for _ in range(256)]
        for order, streamed in orders:
            name = f"offline {number}, temperature {(temperature := 0.0 if number else 0.6)}, {order}"
            report[name] = run(loaded.engine, steps, prompts, outputs, temperature, streamed)
            print(name, json.dumps(report[name], indent=1), flush=True)
        orders.reverse()
    save(asked.out, report)


if __name__ == "__main__":
    main()
