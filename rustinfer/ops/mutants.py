"""Wrong versions made of right ones: the reference run on changed arguments, its result changed, or another function.

Each is a decorator of what makes the difference, leaves that as it is, and registers a mutant of the op under a name.
What is given by name are all of a call's arguments, those that flow and those that are bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustinfer.registry import Op

Arguments = dict[str, Any]
Change = Callable[[Any], Any]
Decorator = Callable[[Change], Change]


def wrong(op: Op, name: str) -> Decorator:
    """Decorator of a function of the arguments that gives those which change for the reference."""
    return lambda change: _registered(op, name, change, lambda a: op(**a | change(a)))


def spoilt(op: Op, name: str) -> Decorator:
    """Decorator of a function that changes the reference's result."""
    return lambda change: _registered(op, name, change, lambda a: change(op(**a)))


def instead(op: Op, name: str) -> Decorator:
    """Decorator of a function of the arguments that stands in the reference's place."""
    return lambda run: _registered(op, name, run, run)


def _registered(op: Op, name: str, given: Change, run: Change) -> Change:
    def fn(*flow: Any, **bound: Any) -> Any:
        return run(dict(zip(op.flow, flow, strict=True)) | op.complete(bound))

    fn.__signature__ = op.signature  # type: ignore[attr-defined]  # it stands for a function of the op's own parameters
    op.mutant(name)(fn)
    return given
