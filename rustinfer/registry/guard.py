"""Kernels that raise while the model runs: the reference, or the parts of a fused op, step in; some are disabled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..device import first_line, lost, short_of_memory
from .policy import REFERENCE

if TYPE_CHECKING:
    from .binder import Binding

log = logging.getLogger(__name__)
Call = Callable[..., Any]
MOST = 3
"""How often a kernel may raise, at all of its sites together."""


class KernelRaised(RuntimeError):
    """A kernel that tried to end the process."""


@dataclass
class Failure:
    """What one back end's kernel for one op has raised, at all of its sites. `kind` is the last error's type."""

    op: str
    backend: str
    plugin: str
    count: int = 0
    kind: str = ""
    disabled: bool = False
    retire: list[Callable[[], None]] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """Whose it is."""
        return f"{self.op} by back end {self.backend} of plugin {self.plugin or '-'}"

    def why(self) -> str:
        """Why it runs nowhere any more."""
        return f"raised {self.count} times, the last time {self.kind}: disabled"


class Guard:
    """Stands between the sites of one engine and their kernels. Knows every kernel that has raised.

    An order is not softened: where `standby` says why the reference may not stand in, the request fails each time.
    What a kernel had written to its arguments when it raised cannot be told: such a call fails too, but its kernel is
    disabled like any other. Errors that are no fault of the kernel pass: want of memory, a lost device, and arguments
    with which the reference raises as well.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], Failure] = {}

    @property
    def failures(self) -> list[Failure]:
        """Kernels that have raised."""
        return [failure for failure in self._failures.values() if failure.count]

    def refusal(self, op: str, backend: str) -> str | None:
        """Why this kernel may not be bound any more, or None."""
        failure = self._failures.get((op, backend))
        return failure.why() if failure and failure.disabled else None

    def now(self, binding: Binding) -> Binding:
        """The binding as it is by now: its reference runs where its kernel is disabled."""
        failure = self._failures.get((binding.op.name, binding.backend))
        if failure is None or not failure.disabled or binding.backend == REFERENCE:
            return binding
        return replace(binding, backend=REFERENCE, rejected=(*binding.rejected, (binding.backend, failure.why())))

    def __call__(self, binding: Binding, plugin: str, call: Call, reference: Call, standby: str | None) -> Call:
        """The callable for a site: `call`, and `reference` where that raises."""
        key = binding.op.name, binding.backend
        failure = self._failures.setdefault(key, Failure(*key, plugin))
        current = call

        def run(*args: Any) -> Any:
            try:
                return current(*args)
            except (Exception, SystemExit) as error:
                if failure.disabled or lost(error) or short_of_memory(error):
                    raise
                return _raised(binding, failure, error, standby, lambda: reference(*args))

        def retire() -> None:
            nonlocal current
            current = reference

        if standby is None:
            failure.retire.append(retire)
        return run


def _raised(
    binding: Binding, failure: Failure, error: BaseException, standby: str | None, again: Callable[[], Any]
) -> Any:
    """The reference's result, or the error; and the kernel's failure counted."""
    result, why = None, standby or ("it writes to its arguments" if binding.op.mutates else None)
    if why is None:
        try:
            result = again()
        except Exception:
            raise _harmless(failure, error) from None
    _count(binding, failure, error, why)
    if standby is None and failure.count >= MOST:
        _disable(failure)
    if why is None:
        return result
    raise _harmless(failure, error)


def _harmless(failure: Failure, error: BaseException) -> BaseException:
    return KernelRaised(f"{failure.name}: {_words(error)}") if isinstance(error, SystemExit) else error


def _count(binding: Binding, failure: Failure, error: BaseException, why: str | None) -> None:
    failure.count, failure.kind = failure.count + 1, type(error).__name__
    then = f"the request fails, for {why}" if why else "its reference ran instead"
    level = logging.WARNING if failure.count == 1 else logging.DEBUG
    log.log(level, "%s raised at %s: %s; %s", failure.name, binding.site or "-", _words(error), then)


def _disable(failure: Failure) -> None:
    failure.disabled = True
    log.warning("%s has raised %d times: the reference runs in its place from now on", failure.name, failure.count)
    for retire in failure.retire:
        retire()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)[:200]}"
