"""What there is to test: every kernel of a back end, on every case of its op, in every dtype."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from rustinfer.registry import Backend, Case, Kernel, Op, Refusal, Registry, Target

from .conformance import check, first_rows

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Point:
    """One kernel, one case (by its place among the op's cases), one dtype. The tensors are made when it is tested."""

    backend: Backend
    kernel: Kernel
    case: str
    index: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.kernel.backend}-{self.kernel.op.name}-{self.case}-{str(self.dtype).removeprefix('torch.')}"

    def refusal(self) -> Refusal:
        """Why the kernel does not run this case here, or None."""
        if reason := self.backend.missing():
            return reason
        device = self.kernel.requires.device
        if device == "cuda" and not torch.cuda.is_available():
            return "there is no CUDA device here"
        chosen = self._choose()
        return chosen if isinstance(chosen, str) else None

    def test(self) -> None:
        """Raise NonconformingError where the kernel fails. Only for a case that it does not refuse."""
        target = self._choose()
        if isinstance(target, str):
            raise ValueError(f"{self} is refused: {target}")
        check(self.kernel, self._case(), target)

    def _choose(self) -> Target | str:
        return choose(self.kernel, self._case(), Target.of(self.kernel.requires.device, self.dtype))

    def _case(self) -> Case:
        return made(self.kernel.op, self.dtype, torch.device(self.kernel.requires.device))[self.index]


def points(backend: Backend) -> Iterator[Point]:
    """Everything to test in a back end."""
    for kernel in backend.kernels.values():
        for dtype in DTYPES:
            for index, name in enumerate(case_names(kernel.op)):
                yield Point(backend, kernel, name, index, dtype)


def select(registry: Registry, names: Iterable[str]) -> list[Backend]:
    """The back ends that were asked for, or all of them. Raises LookupError where one is not installed."""
    wanted = list(dict.fromkeys(names)) or list(registry.backends)
    if not wanted:
        raise LookupError("no back end is installed")
    if unknown := [name for name in wanted if name not in registry.backends]:
        installed = ", ".join(sorted(registry.backends)) or "none"
        raise LookupError(f"--backend {unknown[0]}: no such back end; installed: {installed}")
    return [registry.backends[name] for name in wanted]


def choose(kernel: Kernel, case: Case, target: Target) -> Target | str:
    """The widest target for this case that the kernel does not refuse, or its first refusal."""
    rows = max(first_rows(case), 1)
    decoding, narrow = target.decoding(rows), replace(target, rows=rows)
    reasons = []
    for candidate in (decoding, target) if case.decode else (target, narrow):
        if reason := kernel.refusal(candidate, kernel.op.complete(case.bound)):
            reasons.append(reason)
        else:
            return candidate
    return reasons[0]


@lru_cache
def case_names(op: Op) -> tuple[str, ...]:
    """The names of an op's cases; one that stands for the error if it has none."""
    try:
        return tuple(case.name for case in op.make_cases(torch.float32, torch.device("cpu")))
    except LookupError:
        return ("no cases",)


@lru_cache(maxsize=1)
def made(op: Op, dtype: torch.dtype, device: torch.device) -> list[Case]:
    """An op's cases. Only the last op's are kept: tests come op by op."""
    return list(op.make_cases(dtype, device))
