"""Calls as JSON objects behind a tag: what Hermes, Qwen, Llama 3 and Mistral models write, with small differences."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from .call import CallReader
from .events import Event, Text, merged, overlap

_SPACE = " \t\r\n"
_LONGEST_NAME = 200


class TaggedParser:
    """Text until `opening`, then JSON objects until something else comes. Whatever turns out to be no call is text.

    `closing` and the characters `between` calls are skipped; a `]` among those allows an array. With `bare`, an answer
    that begins with a JSON object is a call without a tag. `named` matches what may stand before a call's arguments
    instead of an object that names it; its first group is the name.
    """

    def __init__(
        self,
        names: Collection[str],
        opening: str = "",
        closing: str = "",
        *,
        between: str = "",
        bare: bool = False,
        named: re.Pattern[str] | None = None,
    ) -> None:
        self._names, self._opening, self._closing, self._named = names, opening, closing, named
        self._between = _SPACE + between
        self._state: Callable[[], bool] = self._bare if bare else self._text
        self._held = self._space = self._raw = ""
        self._array, self._final, self._calls = "]" not in between, False, 0
        self._reader = CallReader(names)
        self._events: list[Event] = []

    def push(self, text: str) -> list[Event]:
        """What is certain now."""
        self._held += text
        while self._state():
            pass
        events, self._events = self._events, []
        return merged(events)

    def finish(self) -> list[Event]:
        """What was held back, at the end of the answer."""
        self._final = True
        events = self.push("")
        unread = self._raw if not (self._state == self._call and self._reader.begun) else ""
        return merged([*events, Text("" if self._calls else self._space), Text(unread + self._held)])

    # Each state takes what it can of the held text, and says whether the next one should have a look. `_raw` is what
    # has been taken since a call may have begun: it is text if there is none.

    def _bare(self) -> bool:
        rest = self._held.lstrip(_SPACE)
        if not rest and not self._final:
            return False
        call = rest[:1] == "{" or (rest[:1] == "[" and not self._array and not self._opening.startswith("["))
        self._state = self._opened if call else self._text
        return True

    def _text(self) -> bool:
        at = self._held.find(self._opening) if self._opening else -1
        if at < 0:
            self._say(0 if self._final else overlap(self._held, self._opening))
            return False
        self._say(len(self._held) - at)
        self._open()
        return True

    def _say(self, left: int) -> None:
        """All but the last `left` characters. White space waits: before a call it is nothing."""
        cut = len(self._held) - left
        text, self._held = self._space + self._held[:cut], self._held[cut:]
        kept = text.rstrip(_SPACE)
        self._space = text[len(kept) :]
        self._events.append(Text(kept))

    def _open(self) -> None:
        self._raw, self._held = self._space + self._opening, self._held[len(self._opening) :]
        self._space, self._state = "", self._opened

    def _skip(self, characters: str) -> str:
        rest = self._held.lstrip(characters)
        self._raw += self._held[: len(self._held) - len(rest)]
        self._held = rest
        return rest

    def _opened(self) -> bool:
        """Behind a tag, or at the beginning of a bare call."""
        rest = self._skip(_SPACE)
        if rest[:1] == "[" and not self._array:
            self._array, self._raw, self._held = True, self._raw + "[", rest[1:]
            rest = self._skip(_SPACE)
        if not rest:
            return False
        if rest[0] == "{":
            self._reader, self._state = CallReader(self._names), self._call
            return True
        if self._named is not None:
            if (found := self._named.match(rest)) and found[1] in self._names:
                self._reader, self._state = CallReader(self._names, found[1]), self._call
                self._held = rest[found.end() :]
                return True
            if "{" not in rest and len(rest) < _LONGEST_NAME and not self._final:
                return False
        return self._no_call()

    def _no_call(self) -> bool:
        self._events.append(Text(self._raw))
        self._raw, self._state = "", self._text
        return True

    def _call(self) -> bool:
        events, rest = self._reader.push(self._held)
        self._raw += self._held[: len(self._held) - len(rest)]
        self._held = rest
        self._events += events
        if self._reader.broken:
            return self._no_call()
        if self._reader.done:
            self._calls += 1
            self._raw, self._state = "", self._closed
        return self._reader.done

    def _closed(self) -> bool:
        """After a call, where another may follow."""
        rest = self._skip(self._between)
        self._raw = ""
        if not rest:
            return False
        if rest[0] == "{":
            self._state = self._opened
            return True
        for mark in filter(None, (self._closing, self._opening)):
            if rest.startswith(mark):
                if mark == self._opening:
                    self._array = "]" not in self._between
                    self._open()
                else:
                    self._held = rest[len(mark) :]
                return True
            if mark.startswith(rest) and not self._final:
                return False
        self._state = self._text
        return True
