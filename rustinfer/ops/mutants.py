"""Wrong versions made of right ones: the reference run on changed arguments, its result changed, or another function.

What is given by name are all of a call's arguments, those that flow and those that are bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustinfer.registry import Op

Arguments = dict[str, Any]


def wrong(op: Op, name: str, change: Callable[[Arguments], Arguments]) -> None:
    """Register as a mutant of the op its reference run on changed arguments."""
    instead(op, name, lambda a: op(**a | change(a)))


def spoilt(op: Op, name: str, change: Callable[[Any], Any]) -> None:
    """Register as a mutant of the op its reference with a changed result."""
    instead(op, name, lambda a: change(op(**a)))


def instead(op: Op, name: str, run: Callable[[Arguments], Any]) -> None:
    """Register as a mutant of the op another function of its arguments."""

    def fn(*flow: Any, **bound: Any) -> Any:
        return run(dict(zip(op.flow, flow, strict=True)) | op.complete(bound))

    fn.__signature__ = op.signature  # type: ignore[attr-defined]  # it stands for a function of the op's own parameters
    op.mutant(name)(fn)
