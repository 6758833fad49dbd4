"""Which part of a fused op a back end would run, told before anything is bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .op import Op

if TYPE_CHECKING:
    from .binder import Binder


def part_of(binder: Binder, op: Op, name: str, bound: Mapping[str, Any]) -> str | None:
    """The first op, in the composition of this one, for which the back end `name` has a kernel that does not refuse."""
    if op.composition is None:
        return None
    survey = _Survey(binder, name)
    op.composition(survey, **bound)
    return survey.found


class _Survey:
    """Stands in for the binder while a composition says what its parts are: it asks about each and builds none."""

    def __init__(self, binder: Binder, name: str) -> None:
        self._binder, self._name = binder, name
        self.found: str | None = None

    def __getattr__(self, name: str) -> Any:
        ops = self._binder.registry.ops
        return partial(self.bind, ops[name]) if name in ops else getattr(self._binder, name)

    def bind(self, op: Op, /, **bound: Any) -> Callable[..., Any]:
        full = op.complete(bound)
        pinned_elsewhere = self._binder.policy.pins.get(op.name, self._name) != self._name
        if not pinned_elsewhere and self._binder.refusal(op, self._name, full) is None:
            self.found = self.found or op.name
        elif op.composition is not None:
            op.composition(self, **full)
        return op.reference
