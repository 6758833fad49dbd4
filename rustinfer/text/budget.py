"""What one rendering of a chat template may spend, so that a hostile template ends soon and stays small."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sized
from threading import local
from typing import Any

from jinja2.exceptions import SecurityError

SIZE_LIMIT = 1 << 24  # characters of a string, or of a whole rendering
STEP_LIMIT = 2_000_000
_CALL, _ITEM = 10, 4  # steps, by the time that they take
_CHARACTERS = 256  # that cost one step
_PAD_LIMIT = 10_000
_BIT_LIMIT = 4096
_WIDE = re.compile(r"[:%][^}a-zA-Z]*([0-9]{5}|\*|\{)")


class _Spent(local):
    steps = 0


class Budget:
    """Counts loop rounds, calls and the sizes of values; raises Jinja's SecurityError when too much is spent."""

    def __init__(self) -> None:
        self._spent = _Spent()

    def renew(self) -> None:
        """For another rendering in this thread."""
        self._spent.steps = 0

    def spend(self, steps: int = _CALL) -> None:
        """Take from what is left."""
        spent = self._spent.steps = self._spent.steps + steps
        if spent > STEP_LIMIT:
            raise SecurityError(f"it takes more than {STEP_LIMIT} steps")

    def value(self, value: Any) -> Any:
        """A new value, as it is. A container costs as much as writing it out would: shared parts count each time."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, (str, bytes)):
                self.text(len(item), _ITEM)
                continue
            self.spend(_ITEM)
            if isinstance(item, Mapping):
                waiting += item.keys()
                waiting += item.values()
            elif isinstance(item, (list, tuple, set, frozenset)):
                waiting += item
        return value

    def text(self, length: int, steps: int = 0) -> None:
        """A new text of so many characters, made in these steps."""
        if length > SIZE_LIMIT:
            raise SecurityError(f"it makes a text of more than {SIZE_LIMIT} characters")
        self.spend(steps + length // _CHARACTERS)

    def concatenate(self, parts: Iterable[str]) -> str:
        held = list(parts)
        self.text(sum(map(len, held)))
        return "".join(held)


class Rounds:
    """What a loop goes over, spending a step at each round. Not an iterator itself."""

    def __init__(self, items: Iterable[Any], budget: Budget) -> None:
        self.items = items
        self.budget = budget

    def __len__(self) -> int:
        if isinstance(self.items, Sized):
            return len(self.items)
        raise TypeError("this has no length")

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.budget.spend(1)
            yield item


def check_widths(arguments: Iterable[Any]) -> None:
    """Refuse to pad, indent or fill by huge numbers."""
    if any(isinstance(value, (int, float)) and value > _PAD_LIMIT for value in arguments):
        raise SecurityError(f"it pads by more than {_PAD_LIMIT}")


def check_format(text: str) -> None:
    """Refuse format strings, % and str.format alike, with huge or computed widths."""
    if _WIDE.search(text):
        raise SecurityError("it formats with a huge or computed width")


def check_replace(text: str, old: str, new: str) -> None:
    """Refuse a replacement with a huge result."""
    if len(text) + text.count(old) * len(new) > SIZE_LIMIT:
        raise SecurityError("it replaces text by too much text")


def check_product(left: Any, right: Any) -> None:
    """Refuse to repeat a sequence, or to multiply integers, to a huge result."""
    for value, times in ((left, right), (right, left)):
        if isinstance(value, Sized) and isinstance(times, int) and len(value) * times > SIZE_LIMIT:
            raise SecurityError(f"it repeats a value to more than {SIZE_LIMIT} elements")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _BIT_LIMIT:
        raise SecurityError("it computes a huge number")


def check_power(left: Any, right: Any) -> None:
    """Refuse to raise integers to a huge result."""
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _BIT_LIMIT:
        raise SecurityError("it computes a huge number")
