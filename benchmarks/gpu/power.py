"""What ops and whole steps take of a card's power: `python -m benchmarks.gpu.power --model llama-3.1-8b --out FILE`.

Each op of a decode step alone, over more copies of its weight than a cache holds, and then the composed step, replayed
for SECONDS, of which the second half counts: microseconds, watts, megahertz, millijoules. A card at its power limit
lowers its clock until it takes no more: there a time is an energy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from threading import Thread
from typing import Any

import torch

from rustinfer.cli.facts import save
from rustinfer.registry import Policy, Target

from .composed import BACKENDS, Composed
from .graph import Graph, milliseconds
from .sites import Bench
from .world import DEVICE, configuration, registry

SECONDS, CONTEXT, COPIES = 1.5, 576, 8
WATCH = "nvidia-smi --query-gpu=clocks.sm,power.draw --format=csv,noheader,nounits -lms 50"
Seen = list[tuple[float, float, float]]
Row = dict[str, float]


@contextmanager
def watched() -> Iterator[Seen]:
    """When, megahertz and watts, as nvidia-smi tells them meanwhile."""
    seen: Seen = []
    with subprocess.Popen(WATCH.split(), stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            for line in process.stdout or ():
                clock, power = map(float, line.split(","))
                seen.append((time.perf_counter(), clock, power))

        reader = Thread(target=read, daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            process.terminate()
            reader.join()


def held(call: Callable[[], object], calls: int, seen: Seen) -> Row:
    """Replays `call`, which is `calls` calls of an op, without a gap; what one of them takes."""
    ahead = max(1, round(20 / milliseconds(call, repeat=3)))  # replays of 20 ms
    events, begun = [], time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        for _ in range(ahead):
            call()
        events.append(torch.cuda.Event(enable_timing=True))
        events[-1].record()
        events[max(len(events) - 3, 0)].synchronize()
    torch.cuda.synchronize()
    half = len(events) // 2
    us = events[half].elapsed_time(events[-1]) / (len(events) - 1 - half) / ahead / calls * 1e3
    later = [(clock, power) for when, clock, power in seen if when > begun + SECONDS / 2]
    clock, watts = (mean(values) for values in zip(*later, strict=True))
    return {"us": round(us, 2), "W": round(watts), "MHz": round(clock), "mJ": round(us * watts / 1e3, 2)}


def ops(model: str, rows: int, seen: Seen) -> dict[str, Row]:
    """A step's ops, one by one."""
    target, found = Target.of(DEVICE, torch.bfloat16).decoding(rows), {}
    bench = Bench(configuration(model, 9216), registry(*BACKENDS), target, rows=rows, ctx=CONTEXT, copies=COPIES)
    c = bench.config
    made = {
        "gate_up": bench.gate_up,
        "qkv": bench.qkv,
        "o": lambda: bench.linear("o", c.width, c.width),
        "down": lambda: bench.linear("down", c.width, c.hidden),
        "attention": bench.attention,
        "head": bench.head,
    }
    for name, make in made.items():
        site = make()
        graph = Graph(lambda site=site: [call() for call in site.calls], warm=1)
        found[name] = row = held(graph.replay, len(site.calls), seen)
        row |= {"TB/s": round(site.nbytes / row["us"] / 1e6, 2), "TFLOP/s": round(site.flops / row["us"] / 1e6)}
        del graph, site
        torch.cuda.empty_cache()
    return found


def whole(model: str, rows: int, seen: Seen) -> Row:
    """A composed step with greedy choice."""
    step = Composed(model, rows, CONTEXT).bound(policy=Policy(pins={"decode_step": "reference"}))
    return held(Graph(step).replay, 1, seen)


@torch.inference_mode()
def main() -> None:
    """Print each row as it is known, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--rows", default="64,256", help="sequences, separated by commas")
    asked = parser.parse_args()
    report: dict[str, Any] = {"model": asked.model}
    with watched() as seen:
        for rows in map(int, asked.rows.split(",")):
            report[f"{rows} sequences"] = found = ops(asked.model, rows, seen)
            found["step"] = whole(asked.model, rows, seen)
            print(rows, json.dumps(found, indent=1), flush=True)
            torch.cuda.empty_cache()
    save(asked.out, report)


if __name__ == "__main__":
    main()
