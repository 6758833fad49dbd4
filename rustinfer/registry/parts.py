"""Which part of a fused op decides that it is composed, told before anything is bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .op import Op

if TYPE_CHECKING:
    from .binder import Binder


Wanted = Callable[[Op, Mapping[str, Any]], bool]


def part_of(binder: Binder, op: Op, name: str, bound: Mapping[str, Any]) -> str | None:
    """The first op, in the composition of this one, for which the back end `name` has a kernel that does not refuse."""
    pins = binder.policy.pins
    return _first(
        binder, op, bound, lambda part, full: pins.get(part.name, name) == name and not binder.refusal(part, name, full)
    )


def pinned_part(binder: Binder, op: Op, name: str, bound: Mapping[str, Any]) -> str | None:
    """The first op, in the composition of this one, that is pinned to another back end than `name`."""
    pins = binder.policy.pins
    return _first(binder, op, bound, lambda part, full: pins.get(part.name, name) != name) if pins else None


def _first(binder: Binder, op: Op, bound: Mapping[str, Any], wanted: Wanted) -> str | None:
    if op.composition is None:
        return None
    survey = _Survey(binder, wanted)
    op.composition(survey, **bound)
    return survey.found


class _Survey:
    """Stands in for the binder while a composition says what its parts are: it asks about each and builds none."""

    def __init__(self, binder: Binder, wanted: Wanted) -> None:
        self._binder, self._wanted = binder, wanted
        self.found: str | None = None

    def __getattr__(self, name: str) -> Any:
        ops = self._binder.registry.ops
        return partial(self.bind, ops[name]) if name in ops else getattr(self._binder, name)

    def whole(self, name: str, /, **bound: Any) -> Callable[..., Any] | None:
        op = self._binder.registry.ops[name]
        return None if self._binder.composed(op, op.complete(bound)) else self.bind(op, **bound)

    def bind(self, op: Op, /, **bound: Any) -> Callable[..., Any]:
        full = op.complete(bound)
        if self._wanted(op, full):
            self.found = self.found or op.name
        elif op.composition is not None and op.name not in self._binder.policy.pins:
            op.composition(self, **full)
        return op.reference
