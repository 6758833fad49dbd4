"""Decode steps with products in shares of their columns, and whole: `python -m benchmarks.gpu.shares --out FILE`.

In turns on the same weights: on a card that has just begun, and on one that has multiplied for a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from rustinfer.backends.triton import summed
from rustinfer.cli.facts import save

from .attend import NAMES
from .composed import Composed
from .few import differing, error
from .graph import Graph, milliseconds, turns
from .world import DEVICE

STEPS = "1b:256,1b:128,8b:256,8b:192,8b:128"
WAYS = {"whole": summed.MOST + 1, "shares": summed.LEAST}  # the least rows of which products are made in shares
CONTEXT, ROUNDS, SECONDS = 576, 5, 0.3


def heat(seconds: float = 1.0) -> None:
    """Multiply, as prompts would."""
    matrix, begun = torch.randn(8192, 8192, device=DEVICE).bfloat16(), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(20):
            matrix @ matrix
        torch.cuda.synchronize()


def compare(model: str, rows: int) -> dict[str, Any]:
    """Milliseconds a step."""
    composed, graphs, said = Composed(NAMES[model], rows, CONTEXT), {}, {}
    for label, least in WAYS.items():
        with mock.patch.object(summed, "LEAST", least):
            graphs[label] = Graph(composed.bound())
        graphs[label].replay()
        said[label] = graphs[label].result[0].clone()
    cold = {label: milliseconds(graph.replay, inner=3) for label, graph in graphs.items()}
    heat()
    hot = turns(graphs, ROUNDS, round(SECONDS * 1e3 / cold["whole"]), repeat=1)
    return {
        "begun": {label: round(ms, 4) for label, ms in cold.items()},
        "hot": {label: statistics.median(taken) for label, taken in hot.items()},
        "all hot": hot,
        "distance": error(said["shares"], said["whole"]),
        "replays of 50 that differ": differing(graphs["shares"], said["shares"]),
    }


@torch.inference_mode()
def main() -> None:
    """Print each number of rows, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", default=STEPS, help="MODEL:ROWS, separated by commas")
    asked = parser.parse_args()
    report: dict[str, Any] = {}
    for text in asked.steps.split(","):
        model, rows = text.split(":")
        report[text] = found = compare(model, int(rows))
        print(text, json.dumps(found), flush=True)
        torch.cuda.empty_cache()
    save(asked.out, report)


if __name__ == "__main__":
    main()
