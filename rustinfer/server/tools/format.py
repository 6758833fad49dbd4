"""How a family of models writes tool calls: a value that a plugin may bring (docs/plugins.md)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from ..formats import loaded
from .events import Event

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
    """Every format that is installed, our own first."""
    return loaded(GROUP, ToolFormat)


def suited(template: str, known: Iterable[ToolFormat]) -> ToolFormat | None:
    """The first whose mark the template contains."""
    return next((f for f in known if f.marker in template), None)
