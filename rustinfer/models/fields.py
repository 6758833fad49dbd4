"""Typed look-ups in a table that came from a file."""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info
from typing import Any

from .errors import CheckpointError


class Fields:
    """Reads values of one table and says, in one line that begins with `where`, which of them cannot be.

    A value of None in the file counts as absent; without a default, an absent value is an error.
    """

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw = raw
        self.where = where

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number above 0, below 2**31. The default may be 0."""
        if default is not None and self.raw.get(name) is None:
            return default
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
            raise CheckpointError(f"{self.where}: {name} is {value!r}, not a positive whole number")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= float_info.max:
            raise CheckpointError(f"{self.where}: {name} is {value!r}, not a positive number")
        return float(value)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers above 0."""
        values = self._get(name, None)
        if not isinstance(values, list):
            raise CheckpointError(f"{self.where}: {name} is not a list")
        return tuple(Fields({name: value}, self.where).number(name) for value in values)

    def maybe(self, name: str) -> float | None:
        """A finite number above 0, or None."""
        return None if self.raw.get(name) is None else self.number(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self.where}: {name} is {value!r}, not true or false")
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """A table; empty if absent."""
        value = self._get(name, {})
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{self.where}: {name} is not a table")
        return value

    def ids(self, name: str) -> tuple[int, ...]:
        """Token ids: one, several or none."""
        value = self._get(name, ())
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 31 for item in values):
            raise CheckpointError(f"{self.where}: {name} is {value!r}, not token ids")
        return values

    def _get(self, name: str, default: Any) -> Any:
        value = self.raw.get(name)
        if value is not None:
            return value
        if default is None:
            raise CheckpointError(f"{self.where}: {name} is missing")
        return default
