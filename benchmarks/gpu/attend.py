"""Decode attention by the CUDA back end against Triton's: `python -m benchmarks.gpu.attend --out FILE`.

Whether it is right against fp32 and repeats itself; in turns, alone in a graph over several caches, and whole steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import attend
from rustinfer.backends.triton import attention as triton
from rustinfer.cli.facts import save
from rustinfer.registry import Binder, Target

from .composed import Composed
from .few import differing, error
from .graph import Graph, turns
from .world import DEVICE, PAGE, configuration

WAYS: dict[str, Callable[..., Any]] = {"triton": triton.attention, "cuda": attend.attention}
NAMES = {"1b": "llama-3.2-1b", "8b": "llama-3.1-8b"}
POINTS = "1b:32:590,1b:64:590,1b:128:590,1b:256:590,1b:256:1300,8b:32:590,8b:64:590,8b:128:590,8b:256:590,8b:256:1300"
STEPS = "1b:32:590,1b:64:590,1b:128:590,1b:256:590,8b:32:590,8b:64:590"
Found = dict[str, Any]


def sizes(model: str) -> Found:
    """What attention is bound with."""
    c = configuration(NAMES[model])
    return {"scale": c.head_dim**-0.5, "heads": c.heads, "kv_heads": c.kv_heads, "dim": c.head_dim}


def batch(model: str, lengths: list[int], scattered: bool) -> tuple[Tensor, ...]:
    """What attention takes; pages in order, or in none."""
    s, each = sizes(model), -(-max(lengths) // PAGE) + 1
    count = len(lengths) * each
    order = torch.randperm(count, device=DEVICE) if scattered else torch.arange(count, device=DEVICE)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, device=DEVICE, dtype=torch.bfloat16)

    starts = torch.arange(len(lengths) + 1, device=DEVICE, dtype=torch.int32)
    known = torch.tensor(lengths, device=DEVICE, dtype=torch.int32)
    cache = [draw(count, s["kv_heads"], PAGE, s["dim"]) for _ in "kv"]
    return draw(len(lengths), s["heads"], s["dim"]), *cache, starts, known, order.int().view(len(lengths), each)


def right(model: str) -> Found:
    """The distance from fp32, how many of 50 replays say something else, and whether a row alone says the same."""
    torch.manual_seed(3)
    lengths = [1 + int(torch.randint(900, ())) for _ in range(200)] + [0, 16, 17, 2500, 1, 0]
    q, keys, values, *rest = flow = batch(model, lengths, scattered=True)
    want = ops.attention(q.float(), keys.float(), values.float(), *rest, **sizes(model))
    call = attend.attention(Target.of(DEVICE, torch.bfloat16).decoding(256), **sizes(model))
    graph = Graph(lambda: (call(*flow),))
    graph.replay()
    got, (starts, known, pages) = graph.result[0].clone(), rest  # type: ignore[index]
    alone = [call(q[i : i + 1], keys, values, starts[:2], known[i : i + 1], pages[i : i + 1])[0] for i in (0, 7, 203)]
    same = torch.equal(torch.stack(alone), got[[0, 7, 203]])
    return {"error": error(got, want), "replays of 50 that differ": differing(graph, got), "alone the same": same}


def op(model: str, rows: int, context: int, rounds: int, mixed: bool) -> Found:
    """Microseconds and TB/s of the op alone; `mixed`: contexts from 100 to nearly twice as long, pages in no order."""
    torch.manual_seed(5)
    lengths = [100 + int(x) for x in torch.rand(rows) * 2 * (context - 100)] if mixed else [context] * rows
    copies = 4 if rows * context > 100000 else 8
    batches = [batch(model, lengths, scattered=mixed) for _ in range(copies)]
    calls = {
        label: way(Target.of(DEVICE, torch.bfloat16).decoding(rows), **sizes(model)) for label, way in WAYS.items()
    }
    graphs = {label: Graph(lambda c=call: [c(*b) for b in batches], warm=1) for label, call in calls.items()}  # type: ignore[misc]
    took = {label: statistics.median(t) * 1e3 / copies for label, t in turns(graphs, rounds, 2).items()}
    nbytes = sum(lengths) * 4 * sizes(model)["kv_heads"] * sizes(model)["dim"]
    return {label: {"us": round(us, 2), "TB/s": round(nbytes / us / 1e6, 3)} for label, us in took.items()}


def bound(way: Callable[..., Any]) -> Callable[..., Any]:
    """A binder's `bind` that takes one way of attention, whatever it refuses."""
    real = Binder.bind
    return lambda self, op, /, **rest: way(self.target, **rest) if op is ops.attention else real(self, op, **rest)


def steps(model: str, rows: int, context: int, rounds: int) -> Found:
    """A decode step with greedy choice; milliseconds and tokens/s."""
    composed, graphs = Composed(NAMES[model], rows, context), {}
    for label, way in WAYS.items():
        with mock.patch.object(Binder, "bind", bound(way)):
            graphs[label] = Graph(composed.bound())
    said = {}
    for label, graph in graphs.items():
        graph.replay()
        said[label] = graph.result[0].clone()  # type: ignore[index]
    times = turns(graphs, rounds, 5)
    ms = {label: round(statistics.median(taken), 4) for label, taken in times.items()}
    return {
        "ms": ms,
        "tokens/s": {label: round(rows / each * 1e3) for label, each in ms.items()},
        "distance": error(said["cuda"], said["triton"]),
        "replays of 50 that differ": differing(graphs["cuda"], said["cuda"]),
        "all": times,
    }


@torch.inference_mode()
def main() -> None:
    """Print all, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="right,steps,mixed,op")
    parser.add_argument("--steps", default=STEPS, help="MODEL:ROWS:CONTEXT, separated by commas")
    parser.add_argument("--points", default=POINTS, help="the same of the op alone")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    report: Found = {}

    def keep(name: str, found: Found) -> None:
        report[name] = found
        print(name, json.dumps(found), flush=True)
        save(asked.out, report)

    for model in NAMES if "right" in asked.only else ():
        keep(f"right {model}", right(model))
    for kind in ("steps", "mixed", "op"):
        for text in (asked.steps if kind == "steps" else asked.points).split(",") if kind in asked.only else ():
            model, rows, context = text.split(":")
            where = model, int(rows), int(context), asked.rounds
            keep(f"{kind} {text}", steps(*where) if kind == "steps" else op(*where, mixed=kind == "mixed"))
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
