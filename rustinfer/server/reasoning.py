"""What a model thinks before it answers, between two marks, told apart from the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .formats import loaded
from .tools.events import Event, Reasoning, Text, merged, overlap

GROUP = "rustinfer.reasoning_formats"


@dataclass(frozen=True)
class ReasoningFormat:
    """How a family of models marks its thoughts: a value that a plugin may bring (docs/plugins.md)."""

    name: str
    opening: str
    closing: str


THINK = ReasoningFormat("think", "<think>", "</think>")
MISTRAL = ReasoningFormat("mistral", "[THINK]", "[/THINK]")


@cache
def formats() -> dict[str, ReasoningFormat]:
    """Every format that is installed, our own first."""
    return loaded(GROUP, ReasoningFormat)


def suited(template: str, known: Iterable[ReasoningFormat]) -> ReasoningFormat | None:
    """The first whose closing mark the template contains: it takes thoughts out of former answers by it."""
    return next((f for f in known if f.closing in template), None)


_SPACE = " \t\r\n"


class ReasoningParser:
    """Reads one answer. `opened` where the prompt ends inside of the thoughts already."""

    def __init__(self, format: ReasoningFormat, opened: bool = False) -> None:
        self._opening, self._closing = format.opening, format.closing
        self._state = "inside" if opened else "start"
        self._held = ""
        self._begun = False

    def push(self, text: str, *, final: bool = False) -> list[Event]:
        """What is certain now; with `final`, all that was held back."""
        self._held += text
        events: list[Event] = []
        if self._state == "start":
            self._start(final)
        if self._state == "inside":
            events.append(Reasoning(self._inside(final)))
        if self._state == "after":
            self._held = self._held.lstrip(_SPACE)
            self._state = "answer" if self._held else "after"
        if self._state == "answer":
            events.append(Text(self._held))
            self._held = ""
        return merged(events)

    def finish(self) -> list[Event]:
        """What was held back."""
        return self.push("", final=True)

    def _start(self, final: bool) -> None:
        rest = self._held.lstrip(_SPACE)
        if rest.startswith(self._opening):
            self._held, self._state = rest[len(self._opening) :], "inside"
        elif final or not self._opening.startswith(rest):
            self._state = "answer"

    def _inside(self, final: bool) -> str:
        """White space around the thoughts is not theirs."""
        if not self._begun:
            self._held = self._held.lstrip(_SPACE)
        thought, closed, after = self._held.partition(self._closing)
        if closed:
            self._held, self._state = after, "after"
            return thought.rstrip(_SPACE)
        cut = len(self._held) if final else len(self._held) - overlap(self._held, self._closing)
        kept = self._held[:cut].rstrip(_SPACE)
        self._held = "" if final else self._held[len(kept) :]
        self._begun = self._begun or bool(kept)
        return kept
