"""Products by torch's choice and by the fastest algorithm that cuBLASLt offers; gate and up in one kernel; drawing.

`python -m benchmarks.gpu.products --out FILE`. Medians in microseconds, all replayed as graphs; those of one
product take turns, with weights that are not in the cache.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer.backends.cublas.contest import ROUNDS, cold, contest
from rustinfer.backends.cublas.lt import Product
from rustinfer.backends.cublas.race import Record, raced
from rustinfer.cli.facts import save
from rustinfer.registry import Binder, Target, load_plugins

from .graph import replayed_ms

SHAPES = {
    "1B qkv": (3072, 2048), "1B o": (2048, 2048), "1B gate_up": (16384, 2048), "1B down": (2048, 8192),
    "8B qkv": (6144, 4096), "8B o": (4096, 4096), "8B gate_up": (28672, 4096), "8B down": (4096, 14336),
}  # fmt: skip
ROWS = (32, 64, 128, 256, 512, 1024, 2048, 8192)
VOCABULARY = 128256


def weight(outputs: int, columns: int) -> Tensor:
    return torch.randn(outputs, columns, device="cuda", dtype=torch.bfloat16) * 0.02


def product(matrix: Tensor, rows: int) -> dict[str, float]:
    """torch's choice, and the best of what is offered."""
    made = Product(rows, matrix, matrix.dtype)
    graphs = contest(made, F.linear, [None, *made.offers()])
    weights = len(cold(matrix, rows * len(matrix) * matrix.itemsize))
    torchs, *times = (took[ROUNDS // 2] / weights for took in raced(graphs, ROUNDS).values())
    return {"torch": torchs, "best": min(times), "offered": len(times)}


def gate_and_up(outputs: int, columns: int) -> dict[str, dict[str, float]]:
    """The activation as epilogue, beside a library's product with a kernel for it behind."""
    ops = Binder(load_plugins().registry, Target.of("cuda", torch.bfloat16))
    weights = cold(weight(outputs, columns), 0)
    ours, activate, found = [ops.gate_up_silu(weight=w) for w in weights], ops.silu_mul(), {}
    for rows in (1024, 2048, 8192):
        x = torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16)
        graphs = {
            "one kernel": Record([partial(call, x) for call in ours]),
            "apart": Record([lambda w=w, x=x: activate(F.linear(x, w)) for w in weights]),  # type: ignore[misc]
        }
        times = raced(graphs, ROUNDS)
        found[f"{rows} rows"] = {name: took[ROUNDS // 2] / len(weights) for name, took in times.items()}
    return found


def drawing() -> dict[str, dict[str, float]]:
    """Of so many rows of logits: greedy, at a temperature, and within top-k and top-p as well."""
    ops = Binder(load_plugins().registry, Target.of("cuda", torch.float32).decoding(256))
    sample, argmax = ops.sample(), ops.argmax()
    return {f"{rows} rows": drawn(rows, sample, argmax) for rows in (1, 64, 256)}


def drawn(rows: int, sample: Callable[..., Tensor], argmax: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """One number of rows."""
    logits, seeds = torch.randn(rows, VOCABULARY, device="cuda"), torch.arange(rows, device="cuda")
    warm, whole, most, none = (torch.full((rows,), value, device="cuda") for value in (0.6, 1.0, 0.95, 0.0))
    return {
        "argmax": replayed_ms(lambda: argmax(logits)) * 1e3,
        "temperature 0.6": replayed_ms(lambda: sample(logits, warm, seeds * 0, whole, none, seeds, seeds)) * 1e3,
        "and top-k 40, top-p 0.95": replayed_ms(lambda: sample(logits, warm, seeds * 0 + 40, most, none, seeds, seeds))
        * 1e3,
    }


@torch.inference_mode()
def main() -> None:
    """Print all, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    table: dict[str, Any] = {}
    for name, sizes in SHAPES.items():
        matrix = weight(*sizes)
        table[name] = {f"{rows} rows": product(matrix, rows) for rows in ROWS}
        print(name, json.dumps(table[name]), flush=True)
    found = {"device": torch.cuda.get_device_name(), "products, us": table,
             "gate and up, us": gate_and_up(16384, 2048), "drawing, us": drawing()}  # fmt: skip
    print(json.dumps({key: found[key] for key in ("gate and up, us", "drawing, us")}, indent=1))
    save(asked.out, found)


if __name__ == "__main__":
    main()
