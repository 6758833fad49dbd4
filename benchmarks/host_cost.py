"""Host cost of a bound call over a bare call, in nanoseconds: `python -m benchmarks.host_cost [--output FILE]`."""

from __future__ import annotations

import argparse
import json
import timeit
from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer.cli.facts import save
from rustinfer.registry import Backend, Binder, Policy, Registry, Requires, Target, op

CALLS, REPEATS = 200_000, 15


@op()
def touch(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    """Do as little as an op can."""
    return x


def _bare(x: Tensor) -> Tensor:
    return x


def _backend() -> Backend:
    made = Backend("built", requires=Requires("cpu"))

    @made.kernel(touch, build=True)
    def build(target: Target, *, weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            return x

        return call

    return made


def _nanoseconds(call: Callable[[Tensor], Tensor]) -> float:
    x = torch.ones(1)
    return min(timeit.repeat(lambda: call(x), number=CALLS, repeat=REPEATS)) / CALLS * 1e9


def main() -> None:
    """Print one JSON object: the bare call, and what each kernel form adds to it."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", metavar="FILE", help="write the result with its command and the machine")
    args = parser.parse_args()
    registry = Registry()
    registry.add([touch], [_backend()], {}, "benchmark")
    target = Target(torch.device("cpu"), torch.float32)
    bound = {"weight": torch.ones(1), "eps": 1e-5}
    bare = _nanoseconds(_bare)
    forms = {"frozen arguments": "reference", "built closure": "built"}
    added = {
        form: round(_nanoseconds(Binder(registry, target, Policy(pins={"touch": name})).touch(**bound)) - bare, 1)
        for form, name in forms.items()
    }
    result = {"bare call, ns": round(bare, 1), "added by binding, ns": added}
    save(args.output, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
