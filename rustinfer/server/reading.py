"""How a chat answer's text is to be read: with thoughts told apart, with tool calls found, or plainly."""

from __future__ import annotations

from .reasoning import ReasoningParser
from .served import Served
from .tools.events import Arguments, Begin, Event, Text, merged
from .tools.forced import ArgumentsParser, any_of
from .tools.format import ToolFormat, ToolParser, random_id
from .tools.wanted import Wanted


class Reader:
    """One choice's text, read as thoughts, answer and tool calls. Without parsers all of the text is the answer.

    With `single`, calls after the first are left out.
    """

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


class Reading:
    """The same for each choice of an answer. An answer whose form is given has no thoughts."""

    def __init__(self, served: Served, wanted: Wanted, prompt: str, *, formed: bool) -> None:
        self.wanted = wanted
        self._format: ToolFormat = served.tool_format
        self._thoughts = None if formed or wanted.forced else served.reasoning
        marks = served.tokenizer.find(self._thoughts.closing) if self._thoughts else None
        self._marked = marks in served.tokenizer.special_ids
        self._opened = self._thoughts is not None and prompt.rstrip().endswith(self._thoughts.opening)

    @property
    def shows_special_tokens(self) -> bool:
        """Whether the marks of calls or thoughts may be tokens that are left out otherwise."""
        return self._marked or (self.wanted.mode == "auto" and self._format.special_tokens)

    @property
    def plain(self) -> bool:
        return self._thoughts is None and self.wanted.mode == "none"

    def reader(self) -> Reader:
        """For one choice's text."""
        thoughts = ReasoningParser(self._thoughts, self._opened) if self._thoughts else None
        return Reader(thoughts, self._tools(), single=self.wanted.single)

    def new_id(self) -> str:
        """For one call."""
        return random_id() if self.wanted.forced else self._format.new_id()

    def finish_reason(self, reason: str | None, calls: int) -> str | None:
        """As OpenAI has it: `tool_calls`, but where the call was demanded by name; a cut answer stays `length`."""
        return "tool_calls" if reason == "stop" and calls and self.wanted.mode != "named" else reason

    def _tools(self) -> ToolParser | None:
        wanted = self.wanted
        if wanted.mode == "named":
            return ArgumentsParser(wanted.name or "")
        if wanted.mode == "required":
            return any_of(wanted.names)
        return self._format.parser(wanted.names) if wanted.mode == "auto" else None
