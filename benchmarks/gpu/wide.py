"""Gate, up and SiLU of 65 to 256 rows, ours and the library's: `python -m benchmarks.gpu.wide --out FILE`.

Whether they are right against fp32; alone, over as many weights as no cache holds; whole composed decode steps. All
that is compared takes turns in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from rustinfer import ops
from rustinfer.backends.cuda import few, wide
from rustinfer.backends.cuda.wide import Cut
from rustinfer.cli.facts import save
from rustinfer.registry import Target

from .composed import BACKENDS, Composed
from .few import differing, error
from .graph import Graph, turns
from .sites import Bench
from .world import DEVICE, configuration, registry

BF16 = torch.bfloat16
WAYS: Mapping[str, Callable[[Target], bool]] = {"library": lambda target: False, "ours": few.of_many}
CASES = "llama-3.1-8b:256,llama-3.1-8b:128,llama-3.1-8b:96,llama-3.2-1b:256,llama-3.2-1b:128"


def normal(*size: int) -> torch.Tensor:
    """Gaussian numbers."""
    return torch.randn(*size, device=DEVICE).bfloat16()


def right(rows: int, cut: Cut) -> dict[str, float]:
    """The distance from the definition in fp32, and how many of 20 repeats differ."""
    x, weight = normal(rows, cut.columns), normal(cut.outputs, cut.columns) * 0.02
    product, out = wide.Product(Target.of(DEVICE, BF16), weight, cut), normal(rows, cut.outputs // 2)
    product(x, out=out)
    told, repeats = out.clone(), 0
    for _ in range(20):
        product(x, out=out.fill_(torch.nan))
        repeats += int(not torch.equal(out, told))
    return {"error": error(told, ops.gate_up_silu.reference(x.float(), weight=weight.float())), "differ": repeats}


def in_turns(graphs: Mapping[str, Graph], inner: int, rounds: int = 5) -> dict[str, float]:
    """Milliseconds of each, the medians of rounds."""
    return {label: statistics.median(taken) for label, taken in turns(graphs, rounds, inner).items()}


def alone(model: str, rows: int, cuts: list[Cut]) -> dict[str, Any]:
    """Microseconds and TFLOP/s."""
    target, copies = Target.of(DEVICE, BF16).decoding(rows), 8 if "8b" in model else 16
    with mock.patch.object(few, "of_many", WAYS["library"]):
        bench = Bench(configuration(model, 9216), registry(*BACKENDS), target, rows=rows, ctx=512, copies=copies)
        site = bench.gate_up()
        graphs = {"library": Graph(lambda: [call() for call in site.calls], warm=1)}
    made = [normal(cuts[0].outputs, cuts[0].columns) for _ in range(copies)]
    x, out = normal(rows, cuts[0].columns), normal(rows, cuts[0].outputs // 2)
    for cut in cuts:
        products = [wide.Product(target, weight, cut) for weight in made]
        graphs[named(cut)] = Graph(lambda products=products: [product(x, out=out) for product in products], warm=1)
    us = {label: ms * 1e3 / copies for label, ms in in_turns(graphs, 3).items()}
    return {label: [round(taken, 2), round(site.flops / taken / 1e6)] for label, taken in us.items()}


def named(cut: Cut) -> str:
    """What tells cuts of one product apart."""
    return f"{cut.rows} x {cut.width}, {cut.down} x {cut.along}, {cut.depth} stages, {cut.blocks} blocks"


def steps(model: str, rows: int) -> dict[str, Any]:
    """A decode step with greedy choice; milliseconds and tokens/s."""
    composed, graphs, said = Composed(model, rows, 512), {}, {}
    for label, way in WAYS.items():
        with mock.patch.object(few, "of_many", way):
            graphs[label] = Graph(composed.bound())
        graphs[label].replay()
        said[label] = graphs[label].result[0].clone()
    ms = in_turns(graphs, 5)
    return {
        "ms": {label: round(taken, 4) for label, taken in ms.items()},
        "tokens/s": {label: round(rows / taken * 1e3) for label, taken in ms.items()},
        "distance": error(said["ours"], said["library"]),
        "replays of 50 that differ": differing(graphs["ours"], said["ours"]),
    }


@torch.inference_mode()
def main() -> None:
    """Print all, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="right,alone,steps")
    parser.add_argument("--cases", default=CASES, help="MODEL:ROWS, separated by commas")
    asked = parser.parse_args()
    report: dict[str, Any] = {}

    def tell(name: str, found: object) -> None:
        report[name] = found
        print(name, json.dumps(found), flush=True)
        torch.cuda.empty_cache()
        save(asked.out, report)

    for case in asked.cases.split(","):
        model, rows = case.split(":")[0], int(case.split(":")[1])
        config = configuration(model, 512)
        every = Cut.all_of(rows, 2 * config.hidden, config.width)
        cuts = sorted(every, key=lambda cut: cut.cycles)[:3]
        for cut in cuts if "right" in asked.only else ():
            tell(f"right {case} {named(cut)}", right(rows - 3, cut))
        if "alone" in asked.only:
            tell(f"alone {case}", alone(model, rows, cuts))
        if "steps" in asked.only:
            tell(f"step {case}", steps(model, rows))


if __name__ == "__main__":
    main()
