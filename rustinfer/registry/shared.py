"""A repacked form of a weight is made once, however many bindings use it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary

from .weight import Weight

T = TypeVar("T")
_forms: WeakKeyDictionary[object, dict[Hashable, object]] = WeakKeyDictionary()


def shared(weight: Weight, key: Hashable, make: Callable[[], T]) -> T:
    """Return `make()`, remembered for `weight` (by identity) and `key` as long as the weight lives."""
    forms = _forms.setdefault(weight, {})
    if key not in forms:
        forms[key] = make()
    return forms[key]  # type: ignore[return-value]  # the key names the type of what it made
