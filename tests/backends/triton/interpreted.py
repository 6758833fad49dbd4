"""Judge a small share of the Triton kernels' points under TRITON_INTERPRET=1.

Prints a JSON object: kernel name -> [points passed, [failure, ...]]. The points are the same on every machine.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator

import torch

from rustinfer.backends.triton import gated, summed
from rustinfer.registry import load_plugins
from rustinfer.testing.conformance import first_rows
from rustinfer.testing.points import Point, made, points

MOST_ROWS = 40
POINTS = 6


def affordable(mine: list[Point]) -> Iterator[Point]:
    """Points of one kernel that are cheap to interpret: few elements and rows, spread over its cases, often in bf16."""
    dtypes = (torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16, torch.float16, torch.bfloat16)
    chosen = []
    for dtype in dict.fromkeys(dtypes):
        cases = made(mine[0].kernel.op, dtype, torch.device("cpu"))
        cost = {i: sum(t.numel() for t in case.flow if isinstance(t, torch.Tensor)) for i, case in enumerate(cases)}
        kept = [p for p in mine if p.dtype == dtype and p.index < len(cases) and not p.refusal()]
        kept = [p for p in kept if first_rows(cases[p.index]) <= MOST_ROWS and cost[p.index]]
        kept.sort(key=lambda p: cost[p.index])
        half = kept[: max(len(kept) // 2, 1)]
        count = dtypes.count(dtype)
        chosen += [half[(i + 1) * len(half) // (count + 1)] for i in range(count) if half]
    yield from dict.fromkeys(chosen[:POINTS])


def judge() -> dict[str, tuple[int, list[str]]]:
    """Points passed, and failures, by kernel."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # numpy says that exp overflows, as it should
    backend = load_plugins().registry.backends["triton"]
    gated.MANY = summed.LEAST = 2  # cases of few rows, which are cheap to interpret, judge what is for many, too
    every = list(points(backend))
    return {
        name: judged(affordable([point for point in every if point.kernel is kernel]))
        for name, kernel in backend.kernels.items()
    }


def judged(mine: Iterator[Point]) -> tuple[int, list[str]]:
    """Points of one kernel that passed, and failures."""
    passed, failures = 0, []
    for point in mine:
        try:
            point.test()
            passed += 1
        except Exception as error:  # any way to fail is to be reported, and the others are to be judged
            failures.append(f"{point}: {type(error).__name__}: {error}"[:500])
    return passed, failures


if __name__ == "__main__":
    print(json.dumps(judge()))
