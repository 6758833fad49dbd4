"""Where a decode step's time goes in the running engine: `python -m benchmarks.gpu.engine_profile --out FILE`.

For each number of sequences: the step as the clock sees it, the host's part (planning, launching, outputs; waiting
excluded), the wait for the device, and the same graphs replayed back to back without an engine.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from rustinfer.cli.facts import save
from rustinfer.engine.flight import Told

from .driven import ask, drain, fill, ids, opened

STEPS, WAITED = 96, [0.0]


def watched(flight: Told, real: Any = Told.result) -> Any:
    """The result, with the time that it was waited for."""
    start = time.perf_counter()
    flight._pinned.wait()
    WAITED[0] += time.perf_counter() - start
    return real(flight)


def measure(engine: Any, count: int, temperature: float) -> dict[str, float]:
    """Microseconds of a step with `count` sequences at a context of about 512."""
    fill(engine, count, made=8, answer=STEPS + 40, temperature=temperature)
    WAITED[0], times = 0.0, []
    for _ in range(STEPS):
        start = time.perf_counter()
        engine.step()
        times.append((time.perf_counter() - start) * 1e6)
    waited = WAITED[0] / STEPS * 1e6
    mean = statistics.mean(times)
    bare = replayed(engine, temperature)
    drain(engine)
    return {"step": mean, "host": mean - waited, "wait": waited, "graphs alone": bare}


@torch.inference_mode()
def replayed(engine: Any, temperature: float, repeat: int = 40) -> float:
    """Microseconds of the step's graphs, back to back."""
    lanes = engine.runner.lanes
    step = next(decode for decode in engine.runner.decodes if decode.rows >= lanes.count)
    saved = lanes.position.clone(), lanes.drawn.clone()
    again = (saved[0] - 1).clamp(min=-1)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeat):
        lanes.position.copy_(again)  # the newest position each time: it has a page
        logits, drawing = step.forward(lanes.count, lanes.width(lanes.rows))
        step.tell(logits, drawing, temperature == 0)
    torch.cuda.synchronize()
    took = (time.perf_counter() - start) / repeat * 1e6
    lanes.position.copy_(saved[0])
    lanes.drawn.copy_(saved[1])
    return took


def prompt(engine: Any, tokens: int, runs: int = 14) -> dict[str, float]:
    """One prompt of so many tokens, one token of answer: microseconds of the whole, and of the parts of its launch."""
    runner, spent = engine.runner, dict[str, float]()
    owners = {"launch": runner, "follow": runner.lanes, "fill": runner.mixed.batcher, "forward": runner.mixed,
              "tell": runner.mixed, "fetch": runner._arrivals}  # fmt: skip
    for name, owner in owners.items():
        setattr(owner, name, noting(getattr(owner, name), name, spent))
    source, rows = random.Random(0), []
    for _ in range(runs):
        spent.clear()
        asked = ids(source, tokens)
        start = time.perf_counter()
        ask(engine, asked, 1)
        drain(engine)
        rows.append({"whole": (time.perf_counter() - start) * 1e6, **spent})
    for name, owner in owners.items():
        delattr(owner, name)
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def noting(call: Any, name: str, spent: dict[str, float]) -> Any:
    """The call, with the time that it took last."""

    def noted(*args: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = call(*args, **named)
        spent[name] = (time.perf_counter() - start) * 1e6
        return result

    return noted


def functions(engine: Any, count: int) -> None:
    """Print where the host's time goes in decode steps of `count` sequences."""
    fill(engine, count, made=8, answer=300, context=64)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(100):
        engine.step()
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(14)
    print("\n".join(line[:110] for line in text.getvalue().splitlines()[7:24]))
    drain(engine)


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    asked = parser.parse_args()
    Told.result = watched  # type: ignore[method-assign]
    loaded = opened(asked.model)
    report: dict[str, Any] = {"model": asked.model, "start": str(loaded.phases)}
    print(report["start"], flush=True)
    for temperature in (0.0, 0.6):
        for count in (1, 8, 32, 64, 128, 256):
            row = measure(loaded.engine, count, temperature)
            report[f"{count} sequences, temperature {temperature}"] = row
            print(f"{count:4} at {temperature}:", {k: round(v, 1) for k, v in row.items()}, flush=True)
    for tokens in (128, 512, 2048):
        report[f"prompt of {tokens}"] = row = prompt(loaded.engine, tokens)
        print(f"prompt of {tokens}:", {k: round(v) for k, v in row.items()}, flush=True)
    for count in (1, 256):
        functions(loaded.engine, count)
    save(asked.out, report)


if __name__ == "__main__":
    main()
