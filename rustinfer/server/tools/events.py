"""What a model's text turns out to be, piece by piece. However it is cut, the pieces put together are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """Part of the answer itself."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Part of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class Begin:
    """A call of the function `name` begins; its arguments follow."""

    name: str


@dataclass(frozen=True)
class Arguments:
    """More of the newest call's arguments, in JSON."""

    text: str


Event = Text | Reasoning | Begin | Arguments


def merged(events: Iterable[Event]) -> list[Event]:
    """The same without empty pieces, neighbours of one kind put together."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, Begin):
            found.append(event)
        elif not event.text:
            continue
        elif found and type(found[-1]) is type(event):
            found[-1] = type(event)(found[-1].text + event.text)
        else:
            found.append(event)
    return found


def overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if mark.startswith(text[-n:])), 0)
