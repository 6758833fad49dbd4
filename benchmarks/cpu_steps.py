"""Where the time of a decoding step goes on a CPU: `python -m benchmarks.cpu_steps [--prefer cpu] [--out FILE]`.

One thread, and its processor time, so that other work on the machine counts less: two threads have half of `model` and
all of the rest. `host` is what scheduling, drawing and bookkeeping take; a prompt's time is that of 512 tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save
from rustinfer.engine.engine import Engine
from rustinfer.engine.sequence import Request

TOGETHER = (1, 4, 8, 16)
PROMPT, OUTPUT, ROUNDS = 128, 48, 3
NO_END = {0: -100.0, 2: -100.0}  # as `serve_beside_llama` asks: of SmolLM2


class Clock:
    """Sums the processor time of the calls it is put around."""

    def __init__(self) -> None:
        self.spent = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*flow: Any) -> Any:
            start = time.thread_time()
            found = call(*flow)
            self.spent += time.thread_time() - start
            return found

        return timed


def steps(engine: Engine, clock: Clock, together: int, name: str) -> list[tuple[float, float]]:
    """(milliseconds of a step, those of them in the model) of each step, prompts' steps first."""
    source, found = random.Random(name), []
    sampling = SamplingParams(temperature=0, max_tokens=OUTPUT, ignore_eos=True, logit_bias=NO_END)
    for i in range(together):
        ids = [source.randrange(100, 49000) for _ in range(PROMPT)]
        engine.add(Request(f"{name} {i}", ids, sampling))
    while engine.has_work:
        clock.spent, start = 0.0, time.thread_time()
        engine.step()
        found.append(((time.thread_time() - start) * 1e3, clock.spent * 1e3))
    return found


def decoding(engine: Engine, clock: Clock, together: int) -> dict[str, float]:
    """The median step of the quickest round."""
    rounds = [steps(engine, clock, together, f"{together} {n}")[-OUTPUT + 8 :] for n in range(ROUNDS)]
    step, model = min(tuple(statistics.median(part) for part in zip(*found, strict=True)) for found in rounds)
    return {"step, ms": round(step, 2), "model, ms": round(model, 2), "host, ms": round(step - model, 2)}


def main() -> None:
    """Print, and perhaps keep, every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="FILE")
    parser.add_argument("--prefer", action="append", default=[], metavar="BACKEND")
    asked = parser.parse_args()
    llm = LLM("smollm2", enable_prefix_caching=False, threads=1, prefer=asked.prefer)
    engine, clock = llm._loaded.engine, Clock()
    decode: Any = engine.runner.decodes[0]  # type: ignore[attr-defined]
    decode.model.decode = clock.around(decode.model.decode)
    rows = {str(n): decoding(engine, clock, n) for n in TOGETHER}
    prompt = min(steps(engine, clock, 4, f"prompt {n}")[0][0] for n in range(ROUNDS))
    report = {"together": rows, "prompt of 512, ms": round(prompt, 1)}
    print(json.dumps(report, indent=1))
    save(asked.out, report)


if __name__ == "__main__":
    main()
