"""How a family of models writes tool calls: a value that a plugin may bring (docs/plugins.md)."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from .events import Event

log = logging.getLogger(__name__)
GROUP = "rustinfer.tool_formats"


class ToolParser(Protocol):
    """Reads one answer. `finish` is called once, after the last push."""

    def push(self, text: str) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


def random_id() -> str:
    """A call's id as OpenAI writes it."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True)
class ToolFormat:
    """`marker` is what a chat template for such models contains. `parser` gets the names of the declared functions.

    With `special_tokens` the marks are tokens that decoding would leave out otherwise. `new_id` makes a call's id.
    """

    name: str
    marker: str
    parser: Callable[[Collection[str]], ToolParser]
    special_tokens: bool = False
    new_id: Callable[[], str] = random_id


@cache
def formats() -> dict[str, ToolFormat]:
    """Every format that is installed, our own first. One that cannot be loaded is an ERROR line, not a crash."""
    found: dict[str, ToolFormat] = {}
    blocked = set(os.environ.get("RUSTINFER_DISABLE_PLUGINS", "").split(","))
    for point in sorted(entry_points(group=GROUP), key=lambda p: (not p.value.startswith("rustinfer."), p.name)):
        if point.name not in blocked:
            _load(point, found)
    return found


def _load(point: EntryPoint, found: dict[str, ToolFormat]) -> None:
    try:
        format = point.load()
        if not isinstance(format, ToolFormat):
            raise TypeError("it is not a rustinfer.server.tools.ToolFormat")
        if found.setdefault(format.name, format) is not format:
            raise ValueError(f"there is another tool format {format.name!r}")
    except Exception as error:
        log.error("the tool format %s (%s) failed to load: %s", point.name, point.value, error)
        if os.environ.get("RUSTINFER_STRICT_PLUGINS"):
            raise


def suited(template: str, known: Iterable[ToolFormat]) -> ToolFormat | None:
    """The first whose mark the template contains."""
    return next((f for f in known if f.marker in template), None)
