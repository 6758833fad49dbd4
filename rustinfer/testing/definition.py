"""Judging an op's own definition: can its cases tell right from wrong?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rustinfer.registry import Case, Kernel, Op, Requires, Target
from rustinfer.registry.backend import freeze
from rustinfer.registry.op import Function

from .conformance import check
from .points import DTYPES, case_names, choose, made

CPU = torch.device("cpu")
FEWEST_MUTANTS = 3


def problems(op: Op) -> list[str]:
    """What is missing or wrong in an op's definition, in words; nothing if it is sound. Runs on the CPU."""
    lacks = [] if op.summary else ["it has no docstring"]
    if op._cases is None:
        return [*lacks, f"it has no cases: add them with @{op.name}.cases"]
    names = case_names(op)
    lacks += [f"two cases are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    if len(op.mutants) < FEWEST_MUTANTS:
        lacks.append(f"it has {len(op.mutants)} mutants, fewer than {FEWEST_MUTANTS}")
    lacks += [f"its reference fails its own cases: {error}" for error in failures(op, op.reference)]
    return lacks + [f"no case rejects its mutant {name!r}" for name in survivors(op)]


def survivors(op: Op) -> list[str]:
    """The mutants that pass every case in every dtype."""
    return [name for name, mutant in op.mutants.items() if next(failures(op, mutant), None) is None]


def failures(op: Op, fn: Function) -> Iterator[str]:
    """What the cases find wrong with a function of the op's signature, case by case and dtype by dtype."""
    kernel = Kernel(op, "candidate", lambda target, **bound: freeze(fn, bound), Requires("cpu"), lambda bound: None)
    yield from kernel_failures(kernel)


def kernel_failures(kernel: Kernel) -> Iterator[str]:
    """What the cases find wrong with a kernel on the CPU; what it raises counts too."""
    for dtype in DTYPES:
        for case in made(kernel.op, dtype, CPU):
            try:
                judge(kernel, case, Target.of(CPU, dtype))
            except Exception as error:
                yield f"{type(error).__name__}: {error}"


def judge(kernel: Kernel, case: Case, target: Target) -> None:
    """Check the case on the target that fits it."""
    chosen = choose(kernel, case, target)
    if isinstance(chosen, Target):
        check(kernel, case, chosen)
