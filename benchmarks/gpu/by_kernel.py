"""A decode step by kernel: `python -m benchmarks.gpu.by_kernel --model llama-3.1-8b --sequences 64,256 --out FILE`.

The running engine's own graphs, replayed under torch's profiler: each kernel's microseconds a step, how often it runs,
and its share of the step, for sequences at a context of about 512, greedy and at a temperature.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from rustinfer.cli.facts import facts
from rustinfer.engine.build import load
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.sampling import SamplingParams

REPLAYS = 10


def profiled(engine: Any, count: int, shaping: dict[str, Any]) -> dict[str, Any]:
    """The kernels of a step of `count` sequences."""
    params = SamplingParams(max_tokens=60, ignore_eos=True, **shaping)
    source = torch.Generator().manual_seed(count)
    for i in range(count):
        engine.add(Request(f"{i}", torch.randint(10, 120000, (512,), generator=source).tolist(), params))
    while engine.scheduler.waiting or any(q.generated < 4 for q in engine.scheduler.running):
        engine.step()
    found = replayed(engine.runner, greedy=not shaping["temperature"])
    while engine.has_work:
        engine.step()
    return found


@torch.inference_mode()
def replayed(runner: Any, greedy: bool) -> dict[str, Any]:
    """Replays of the newest position: it has a page."""
    lanes = runner.lanes
    step = next(decode for decode in runner.decodes if decode.rows >= lanes.count)
    saved = lanes.position.clone(), lanes.drawn.clone()

    def once() -> None:
        lanes.position.copy_((saved[0] - 1).clamp(min=-1))
        step.tell(*step.forward(lanes.count, lanes.width(lanes.rows)), greedy)

    once()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(REPLAYS):
            once()
        torch.cuda.synchronize()
    lanes.position.copy_(saved[0])
    lanes.drawn.copy_(saved[1])
    rows = [(e.key, e.self_device_time_total / REPLAYS, e.count / REPLAYS) for e in profile.key_averages()]
    whole = sum(took for _, took, _ in rows)
    order = sorted((row for row in rows if row[1]), key=lambda row: -row[1])
    kernels = {
        name[:90]: {"us": round(took, 1), "runs": runs, "share": round(took / whole, 4)} for name, took, runs in order
    }
    return {"us of all kernels": round(whole, 1), "kernels": kernels}


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--sequences", default="1,8,32,64,128,256")
    asked = parser.parse_args()
    sizes = {"max_model_len": 2048, "max_num_batched_tokens": 16384, "enable_prefix_caching": False}
    loaded = load(asked.model, Options(device="cuda", load_format="dummy", max_num_seqs=256, **sizes))  # type: ignore[arg-type]
    report: dict[str, Any] = facts() | {"model": asked.model, "start": str(loaded.phases)}
    for count in map(int, asked.sequences.split(",")):
        for shaping in ({"temperature": 0.0}, {"temperature": 0.6}, {"temperature": 0.6, "top_k": 40, "top_p": 0.95}):
            name = f"{count} sequences, {' '.join(f'{key} {value}' for key, value in shaping.items())}"
            report[name] = found = profiled(loaded.engine, count, shaping)
            print(f"{name}: {found['us of all kernels']} us", flush=True)
            for kernel, row in list(found["kernels"].items())[:14]:
                print(f"  {row['us']:9.1f} us {row['runs']:6.1f} x {row['share']:6.1%}  {kernel}", flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
