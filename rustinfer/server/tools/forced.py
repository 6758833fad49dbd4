"""Answers that a grammar makes into calls: nothing else can come, whatever the model's own way of writing is."""

from __future__ import annotations

from collections.abc import Collection

from .events import Arguments, Begin, Event
from .tagged import TaggedParser


def any_of(names: Collection[str]) -> TaggedParser:
    """An array of calls."""
    return TaggedParser(names, between=",]", bare=True)


class ArgumentsParser:
    """One function's arguments."""

    def __init__(self, name: str) -> None:
        self._name, self._begun = name, False

    def push(self, text: str) -> list[Event]:
        events: list[Event] = [Arguments(text)] if text else []
        if events and not self._begun:
            self._begun = True
            events.insert(0, Begin(self._name))
        return events

    def finish(self) -> list[Event]:
        """A call that was cut off before it began is a call nevertheless."""
        return [] if self._begun else [Begin(self._name)]
