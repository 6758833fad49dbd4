"""Judging one kernel on one case."""

from __future__ import annotations

from typing import Any

import torch

from rustinfer.registry import Case, Kernel, Target
from rustinfer.registry.op import Function

from .capture import replayed
from .invariance import check_rows
from .judge import Judge, NonconformingError, Outputs, floor, outputs
from .values import bits, copied, doubled, same_bytes, tensors


def check(kernel: Kernel, case: Case, target: Target) -> None:
    """Raise NonconformingError unless the kernel, built for the target, does on this case what its op says.

    It runs twice, on copies of the inputs: both runs are judged against the reference, must leave alone what the op
    does not write to, and must agree to the bit if the kernel claims to be deterministic. On a GPU a capturable kernel
    is captured in a CUDA graph and its replay is judged too. Whatever the kernel raises passes through.
    """
    try:
        examine(kernel, case, target)
    except NonconformingError as error:
        where = f"{kernel.backend}'s {kernel.op.name} on {case.name!r} for {target}"
        raise NonconformingError(f"{where}: {error}") from None


def examine(kernel: Kernel, case: Case, target: Target) -> None:
    """`check`, with errors that do not say where."""
    judge, given = reference(kernel, case, target), kernel.op.complete(case.bound)
    bound = copied(given)
    call = kernel.build(target, **bound)
    first, second = run(kernel, call, case), run(kernel, call, case)
    judge.require(first)
    judge.require(second)
    require_untouched("bound argument", bound, given)
    if kernel.deterministic:
        for name, value in first.items():
            if bits(value) != bits(second[name]):
                raise NonconformingError(f"{name} differs between two runs of a kernel that claims to be deterministic")
    if kernel.batch_invariant:
        check_rows(kernel, case, target)
    if kernel.capturable and target.device.type == "cuda" and first_rows(case):
        flow = copied(case.flow)
        judge.require(outputs(kernel.op, replayed(call, flow), flow))


def reference(kernel: Kernel, case: Case, target: Target) -> Judge:
    """The judge of a case: the reference run in the case's dtype and in float64."""
    op = kernel.op

    def run_reference(flow: tuple[Any, ...], bound: dict[str, Any]) -> Outputs:
        return outputs(op, op.reference(*flow, **bound), flow)

    plain = run_reference(copied(case.flow), dict(case.bound))
    gold = run_reference(doubled(copied(case.flow)), doubled(dict(case.bound)))
    return Judge(plain, gold, op.tolerance.slack, floor(op, case, target))


def run(kernel: Kernel, call: Function, case: Case) -> Outputs:
    """One call on copies of the inputs. Raises NonconformingError where it writes to what it must not."""
    flow = copied(case.flow)
    result = call(*flow)
    if flow and any(t.is_cuda for _, t in tensors(flow, "")):
        torch.cuda.synchronize()
    names = dict(zip(kernel.op.flow, zip(flow, case.flow, strict=True), strict=True))
    kept = {name: pair for name, pair in names.items() if name not in kernel.op.mutates}
    require_untouched("input", {n: p[0] for n, p in kept.items()}, {n: p[1] for n, p in kept.items()})
    return outputs(kernel.op, result, flow)


def require_untouched(kind: str, after: Any, before: Any) -> None:
    """Raise NonconformingError unless every tensor holds what it held, the gaps between its rows included."""
    for name, value in after.items():
        pairs = zip(tensors(value, name), tensors(before[name], name), strict=True)
        for (label, now), (_, then) in pairs:
            if not same_bytes(now, then):
                raise NonconformingError(f"it writes to its {kind} {label}")


def first_rows(case: Case) -> int:
    """How many rows a case's calls carry."""
    return next((len(t) for _, t in tensors(case.flow, "") if t.dim()), 0)
