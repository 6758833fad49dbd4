"""ASGI middleware of other packages, which an operator asks for by name: none is used because it is installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from starlette.middleware import Middleware

from rustinfer.errors import UserError

GROUP = "rustinfer.middleware"
"""Entry points of this group name classes that are made with the application alone: `Traced(app)`."""


def chosen(names: Iterable[str]) -> list[Middleware]:
    """The middleware of these names, the outermost first. Raises UserError for one that cannot be had."""
    found = list(entry_points(group=GROUP))
    return [Middleware(_load(name, found)) for name in names]


def _load(name: str, found: list[EntryPoint]) -> Any:
    named = [point for point in found if point.name == name]
    if not named:
        known = ", ".join(sorted({point.name for point in found})) or "none"
        raise UserError(f"there is no middleware {name}; installed: {known}")
    if len(named) > 1:
        owners = " and ".join(sorted(point.dist.name if point.dist else point.value for point in named))
        raise UserError(f"the middleware {name} is brought by {owners}: uninstall one")
    try:
        return named[0].load()
    except Exception as e:  # whatever a stranger's module does wrong
        raise UserError(f"the middleware {name} cannot be loaded: {type(e).__name__}: {e}") from None
