"""Products of few rows by the CUDA back end, and steps without it: `python -m benchmarks.gpu.few --out FILE`.

Whether they are right against fp32; whole composed decode steps with and without them, in turns on the same weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cuda import few, joint
from rustinfer.cli.facts import save
from rustinfer.registry import Policy, Target

from .composed import BACKENDS, Composed
from .graph import Graph, turns
from .world import DEVICE, PAGE

JOINTS = ("linear_norm_gate_up_silu", "linear_norm_qkv_rope_write")
WAYS = {  # back ends, and what is composed of its parts
    "before": (BACKENDS[1:], ()),
    "norms apart": (BACKENDS, JOINTS),
    "after": (BACKENDS, ()),
}
STEPS = "llama-3.2-1b:32,llama-3.2-1b:64,llama-3.2-1b:16,llama-3.1-8b:64,llama-3.1-8b:32"
CASES = (  # rows, the most rows, width, hidden units, heads, key heads, a head's size
    (32, 32, 2048, 8192, 32, 8, 64),
    (17, 32, 2048, 8192, 32, 8, 64),
    (64, 64, 4096, 14336, 32, 8, 128),
    (41, 64, 2048, 8192, 32, 8, 64),
    (9, 9, 512, 1536, 8, 2, 64),
    (1, 16, 4096, 1024, 6, 1, 128),
)


def error(got: Tensor, want: Tensor) -> float:
    """The relative distance."""
    return float((got.double() - want.double()).norm() / want.double().norm())


def right(rows: int, most: int, width: int, hidden: int, heads: int, kv_heads: int, dim: int) -> dict[str, float]:
    """The distance of each op from its definition in fp32."""
    target = replace(Target.of(DEVICE, torch.bfloat16), rows=most)
    draw = lambda *size: torch.randn(*size, device=DEVICE).bfloat16()  # noqa: E731
    x, y = draw(rows, width), draw(rows, hidden)
    gates, down, bias = draw(2 * hidden, width) * 0.02, draw(width, hidden) * 0.02, draw(width)
    exact = {
        "linear": y.float() @ down.float().T + bias.float(),
        "gate_up": ops.gate_up_silu.reference(x.float(), weight=gates.float()),
    }
    got = {
        "linear": few.linear(target, weight=down, bias=bias)(y),
        "gate_up": few.gate_up_silu(target, weight=gates)(x),
    }
    qkv, added = draw((heads + 2 * kv_heads) * dim, width) * 0.02, draw((heads + 2 * kv_heads) * dim)
    angles = torch.rand(512, dim // 2, device=DEVICE) * 6
    positions, slots = torch.randint(512, (rows,), device=DEVICE), torch.randperm(8 * PAGE, device=DEVICE)[:rows]
    slots[::5] = -1
    cache = [draw(8, kv_heads, PAGE, dim) for _ in "kv"]
    wide = [part.float() for part in cache]
    rest = {"cos": angles.cos(), "sin": angles.sin(), "heads": heads, "kv_heads": kv_heads}
    got["q"] = few.qkv_rope_write(target, weight=qkv, bias=added, **rest)(x, positions, slots, *cache)
    exact["q"] = ops.qkv_rope_write.reference(
        x.float(), positions, slots, *wide, weight=qkv.float(), bias=added.float(), **rest
    )
    said = {name: error(got[name], exact[name]) for name in got} | {
        "k": error(cache[0], wide[0]),
        "v": error(cache[1], wide[1]),
    }
    residual, norm = draw(rows, width), torch.rand(width, device=DEVICE).bfloat16() + 0.5
    bound = {"first": down, "first_bias": bias, "norm": norm, "eps": 1e-5}
    floats = {name: part.float() if isinstance(part, Tensor) else part for name, part in bound.items()}
    pair = joint.linear_norm_gate_up_silu(target, **bound, weight=gates)(y, residual)
    want = ops.linear_norm_gate_up_silu.reference(y.float(), residual.float(), **floats, weight=gates.float())
    said |= {"joint gate_up": error(pair[0], want[0]), "sum": error(pair[1], want[1])}
    rest |= {"bias": None}
    pair = joint.linear_norm_qkv_rope_write(target, **bound, weight=qkv, **rest)(y, residual, positions, slots, *cache)
    want = ops.linear_norm_qkv_rope_write.reference(
        y.float(), residual.float(), positions, slots, *wide, **floats, weight=qkv.float(), **rest
    )
    return said | {"joint q": error(pair[0], want[0]), "joint k": error(cache[0], wide[0])}


def steps(model: str, rows: int, rounds: int = 5) -> dict[str, Any]:
    """A decode step with greedy choice, with and without, in turns; milliseconds and tokens/s."""
    composed = Composed(model, rows, 512)
    graphs, said = {}, {}
    for label, (names, apart) in WAYS.items():
        policy = Policy(pins=dict.fromkeys((*apart, "decode_step"), "reference"))
        graphs[label] = Graph(composed.bound(*names, policy=policy))
        graphs[label].replay()
        said[label] = graphs[label].result[0].clone()
    times = turns(graphs, rounds)
    ms = {label: round(statistics.median(taken), 4) for label, taken in times.items()}
    return {
        "ms": ms,
        "tokens/s": {label: round(rows / each * 1e3) for label, each in ms.items()},
        "distance": {label: error(other, said["before"]) for label, other in said.items()},
        "replays of 50 that differ": differing(graphs["after"], said["after"]),
        "all": times,
    }


def differing(graph: Graph, said: Tensor) -> int:
    """Of 50 replays, those that say something else."""
    repeats = 0
    for _ in range(50):
        graph.replay()
        repeats += int(not torch.equal(said, graph.result[0]))
    return repeats


@torch.inference_mode()
def main() -> None:
    """Print all, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="right,steps")
    parser.add_argument("--steps", default=STEPS, help="MODEL:ROWS, separated by commas")
    asked = parser.parse_args()
    report: dict[str, Any] = {}
    if "right" in asked.only:
        for case in CASES:
            report[f"right {case}"] = found = right(*case)
            print("right", case, json.dumps(found), flush=True)
    if "steps" in asked.only:
        for text in asked.steps.split(","):
            model, rows = text.split(":")
            report[f"step {text}"] = found = steps(model, int(rows))
            print("step", text, json.dumps(found), flush=True)
    save(asked.out, report)


if __name__ == "__main__":
    main()
