"""Comparing what a kernel gave with what its op's reference gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case, Op, Target

from .values import tensors


class NonconformingError(AssertionError):
    """A kernel does not do what its op says."""


Outputs = dict[str, Tensor]


def outputs(op: Op, result: Any, flow: tuple[Any, ...]) -> Outputs:
    """What a call gave: what it returned, and the arguments that the op says it writes to."""
    returned = dict(tensors(result, "the result")) if result is not None else {}
    changed = [(name, value) for name, value in zip(op.flow, flow, strict=True) if name in op.mutates]
    written = {label: tensor for name, value in changed for label, tensor in tensors(value, name)}
    return returned | written


def floor(op: Op, case: Case, target: Target) -> float:
    """The part of the largest output that is forgiven: that of the least precise floating argument that flows."""
    dtypes = {t.dtype for _, t in tensors(case.flow, "") if t.is_floating_point()} or {target.dtype}
    return max(op.tolerance.floor.get(dtype, torch.finfo(dtype).eps) for dtype in dtypes)


@dataclass(frozen=True)
class Judge:
    """Holds the reference's outputs in the case's dtype (`plain`) and in float64 (`gold`).

    An error may be at most `slack` times the reference's own, plus `floor` times the largest magnitude in the output.
    """

    plain: Mapping[str, Tensor]
    gold: Mapping[str, Tensor]
    slack: float
    floor: float

    def require(self, got: Outputs) -> None:
        """Raise NonconformingError unless every output has the right name, shape, dtype, device and numbers."""
        if got.keys() != self.plain.keys():
            raise NonconformingError(f"gave {', '.join(got) or 'nothing'}, not {', '.join(self.plain) or 'nothing'}")
        for name, value in got.items():
            require_kind(name, value, self.plain[name])
            if value.is_floating_point():
                self._require_close(name, value)
            elif not torch.equal(value, self.plain[name]):
                at = int((value != self.plain[name]).flatten().nonzero()[0])
                mine, theirs = value.flatten()[at].item(), self.plain[name].flatten()[at].item()
                raise NonconformingError(f"{name} differs: element {at} is {mine}, not {theirs}")

    def _require_close(self, name: str, got: Tensor) -> None:
        plain, gold = self.plain[name], self.gold[name]
        finite = plain.isfinite()
        # Where the reference overflows, anything goes; where the exact value is infinite, it must be that.
        exact = ~finite & ~gold.isfinite()
        if not torch.equal(got[exact].nan_to_num(), plain[exact].nan_to_num()):
            raise NonconformingError(f"{name} is not what it must be where the exact value is infinite")
        if not got[finite].isfinite().all():
            raise NonconformingError(f"{name} is not finite where the reference is")
        error, own, size = largest(got, gold, finite), largest(plain, gold, finite), largest(gold, 0 * gold, finite)
        limit = self.slack * own + self.floor * size
        if not error <= limit:
            raise NonconformingError(
                f"{name} is off by {error:.2e}, more than {limit:.2e} "
                f"({self.slack:g} x the reference's own error {own:.2e} + {self.floor:g} x {size:.2e})"
            )


def require_kind(name: str, got: Tensor, want: Tensor) -> None:
    """Raise NonconformingError unless shape, dtype and device are the reference's."""
    for what in ("shape", "dtype", "device"):
        mine, theirs = getattr(got, what), getattr(want, what)
        if mine != theirs:
            raise NonconformingError(f"{name} has {what} {show(mine)}, not {show(theirs)}")


def show(value: Any) -> str:
    """A shape as a list, a dtype without its module."""
    return str(list(value)) if isinstance(value, torch.Size) else str(value).removeprefix("torch.")


def largest(a: Tensor, b: Tensor, where: Tensor) -> float:
    """The largest difference, in float64, among the chosen elements; 0 of none."""
    difference = (a.double() - b.double()).abs()[where]
    return difference.max().item() if difference.numel() else 0.0
