"""Checks of single parameters. Each raises `ParameterError` with the parameter's name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rustinfer.errors import UserError

TOKENS = 2**31
"""Token ids are below this."""


class ParameterError(UserError, ValueError):
    """One parameter has a value that cannot be meant; `param` is its name."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param} {message}")
        self.param = param


def number(name: str, value: Any, low: float, high: float) -> float:
    """A finite number in [low, high], as float."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ParameterError(name, "must be a finite number")
    if not low <= value <= high:
        raise ParameterError(name, f"must be between {low:g} and {high:g}")
    return float(value)


def integer(name: str, value: Any, low: int, high: int, *, optional: bool) -> None:
    """An integer in [low, high]; None too where it is optional. A bool is no integer."""
    if value is None and optional:
        return
    if type(value) is not int:
        raise ParameterError(name, "must be an integer")
    if not low <= value <= high:
        raise ParameterError(name, f"must be between {low} and {high}")


def flag(name: str, value: Any) -> None:
    """True or False itself."""
    if type(value) is not bool:
        raise ParameterError(name, "must be true or false")


def strings(name: str, value: Any, most: int) -> tuple[str, ...]:
    """One string or several, none of them empty; None is none."""
    found = (value,) if isinstance(value, str) else _several(name, value)
    _at_most(name, found, most, "strings")
    if not all(isinstance(s, str) and s for s in found):
        raise ParameterError(name, "must be a string or a list of strings, none of them empty")
    return found


def tokens(name: str, value: Any, most: int) -> tuple[int, ...]:
    """Token ids; None is none."""
    found = _several(name, value)
    _at_most(name, found, most, "ids")
    if not all(map(_is_token, found)):
        raise ParameterError(name, "must be a list of token ids")
    return found


def token_lists(name: str, value: Any, most: int, longest: int) -> tuple[tuple[int, ...], ...]:
    """Lists of token ids, none of them empty; None is none."""
    found = _several(name, value)
    _at_most(name, found, most, "lists")
    lists = tuple(tokens(name, ids, longest) for ids in found)
    if not all(lists):
        raise ParameterError(name, "must not hold an empty list")
    return lists


def biases(name: str, value: Any, most: int, bound: float) -> dict[int, float]:
    """A mapping of token ids, or of their decimal digits as JSON has them, to numbers in [-bound, bound]."""
    try:
        given = dict(value)
    except (TypeError, ValueError):
        raise ParameterError(name, "must be a mapping of token ids to numbers") from None
    _at_most(name, given, most, "tokens")
    found = {int(key) if _is_digits(key) else key: bias for key, bias in given.items()}
    if bad := [key for key in found if not _is_token(key)]:
        raise ParameterError(name, f"must have token ids as its keys, not {', '.join(repr(k)[:30] for k in bad[:10])}")
    return {token: number(name, bias, -bound, bound) for token, bias in found.items()}


def _is_digits(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 10


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < TOKENS


def _several(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable | None):
        raise ParameterError(name, "must be a list")
    return () if value is None else tuple(value)


def _at_most(name: str, found: Any, most: int, what: str) -> None:
    if len(found) > most:
        raise ParameterError(name, f"may hold at most {most} {what}")
