"""One call written as a JSON object, read as it grows: {"name": "f", "arguments": {...}}, in either order."""

from __future__ import annotations

import json
from collections.abc import Collection

from .events import Arguments, Begin, Event

_SPACE = " \t\r\n"
_OPENERS, _CLOSERS = "{[", "}]"
ARGUMENT_KEYS = ("arguments", "parameters")


class CallReader:
    """Feed it text from the opening brace on. `done` at the end of the object; `broken` where this is no call.

    With `name`, the object is that function's arguments alone.

    A call of a function that is not among `names` is no call. Once a Begin has been given, the reader is never broken:
    it then passes arguments on as the model writes them, until the object ends.
    """

    def __init__(self, names: Collection[str], name: str | None = None) -> None:
        self.done = self.broken = self.begun = False
        self._names = names
        self._state = self._start
        self._key = self._value = self._early = ""
        self._depth, self._quoted, self._escaped, self._given = 0, False, False, False
        self._unfit = False
        self._events: list[Event] = []
        self._alone = name is not None
        if name is not None:
            self._key, self.begun, self._state = ARGUMENT_KEYS[0], True, self._before_value
            self._events.append(Begin(name))

    def push(self, text: str) -> tuple[list[Event], str]:
        """What became certain, and the text after the object's end (or from the place where it broke)."""
        for at, c in enumerate(text):
            self._state(c)
            if self.done or self.broken:
                return self._take(), text[at + (not self._unfit) :]
        return self._take(), ""

    def _take(self) -> list[Event]:
        if self._given and self._value:
            self._events.append(Arguments(self._value))
            self._value = ""
        events, self._events = self._events, []
        return events

    def _start(self, c: str) -> None:
        if c == "{":
            self._state = self._before_key
        elif c not in _SPACE:
            self.broken = True

    def _before_key(self, c: str) -> None:
        if c == '"':
            self._key, self._escaped, self._state = "", False, self._in_key
        elif c == "}":
            self._end()
        elif c not in _SPACE + ",":
            self._spoil()

    def _in_key(self, c: str) -> None:
        if c == '"' and not self._escaped:
            self._state = self._colon
        else:
            self._escaped = c == "\\" and not self._escaped
            self._key += c

    def _colon(self, c: str) -> None:
        if c == ":":
            self._state = self._before_value
        elif c not in _SPACE:
            self._spoil()

    def _before_value(self, c: str) -> None:
        if c in _SPACE:
            return
        if c in ",}":
            self._spoil()
            return
        self._value, self._depth, self._quoted, self._escaped = "", 0, False, False
        self._given = self._key in ARGUMENT_KEYS and self.begun and c == "{" and not self._early
        self._state = self._in_value
        self._in_value(c)

    def _in_value(self, c: str) -> None:
        if self._quoted:
            self._value += c
            self._quoted = c != '"' or self._escaped
            self._escaped = c == "\\" and not self._escaped
            if not self._quoted and self._depth == 0:
                self._have()
        elif self._depth == 0 and c in ",}" + _SPACE:  # the end of a number, true, false or null
            self._have()
            self._state(c)
        else:
            self._value += c
            self._quoted = c == '"'
            self._depth += (c in _OPENERS) - (c in _CLOSERS)
            if c in _CLOSERS and self._depth <= 0:
                self._have()

    def _have(self) -> None:
        """A whole value."""
        value, self._state = self._value, self._before_key
        if self._given:
            self._take_given()
        elif self._key == "name" and not self.begun:
            self._name(value)
        elif self._key in ARGUMENT_KEYS and not self._early:
            self._early = _written(value)
            if self.begun:
                self._events.append(Arguments(self._early))
        self._value = ""

    def _take_given(self) -> None:
        self._early = self._value
        self._events.append(Arguments(self._value))
        self._value, self._given = "", False
        self.done = self._alone

    def _name(self, value: str) -> None:
        try:
            name = json.loads(value)
        except ValueError:
            name = None
        if name not in self._names:
            self.broken = True
            return
        self.begun = True
        self._events.append(Begin(name))
        if self._early:
            self._events.append(Arguments(self._early))

    def _end(self) -> None:
        self.broken, self.done = not self.begun, self.begun
        if self.begun and not self._early:
            self._events.append(Arguments("{}"))

    def _spoil(self) -> None:
        """A call that goes wrong after it has begun ends there: the character is not its own."""
        self._unfit = True
        self._end()


def _written(value: str) -> str:
    """Arguments as a JSON object. Some models write it into a string, or null where there are none."""
    if value == "null":
        return "{}"
    if value.startswith('"'):
        try:
            return str(json.loads(value)) or "{}"
        except ValueError:
            return value
    return value
