"""One choice's text, read as thoughts, answer and tool calls."""

from __future__ import annotations

from .reasoning import ReasoningParser
from .tools.events import Arguments, Begin, Event, Text, merged
from .tools.format import ToolParser


class Reader:
    """Without parsers all of the text is the answer. With `single`, calls after the first are left out."""

    def __init__(self, reasoning: ReasoningParser | None, tools: ToolParser | None, *, single: bool = False) -> None:
        self._reasoning, self._tools, self._single = reasoning, tools, single
        self.calls = self.told = 0
        """Calls found, and calls that the client was told of."""

    def push(self, text: str) -> list[Event]:
        """What is certain now."""
        events: list[Event] = self._reasoning.push(text) if self._reasoning else [Text(text)]
        return self._kept(self._calls(events))

    def finish(self) -> list[Event]:
        """What was held back, at the end of the text."""
        events = self._calls(self._reasoning.finish() if self._reasoning else [])
        return self._kept([*events, *(self._tools.finish() if self._tools else [])])

    def _calls(self, events: list[Event]) -> list[Event]:
        if self._tools is None:
            return events
        return [e for event in events for e in (self._tools.push(event.text) if isinstance(event, Text) else [event])]

    def _kept(self, events: list[Event]) -> list[Event]:
        found = []
        for event in events:
            self.calls += isinstance(event, Begin)
            if not (self._single and self.calls > 1 and isinstance(event, (Begin, Arguments))):
                found.append(event)
        return merged(found)
