"""A repacked form of a weight is made once, however many bindings use it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from torch.utils.weak import WeakIdKeyDictionary

from .weight import Weight

T = TypeVar("T")
# By identity: tensors compare element by element.
_forms = WeakIdKeyDictionary()


def shared(weight: Weight, key: Hashable, make: Callable[[], T]) -> T:
    """Return `make()`, remembered for `weight` (by identity) and `key` as long as the weight lives."""
    if weight not in _forms:
        _forms[weight] = {}
    forms: dict[Hashable, object] = _forms[weight]
    if key not in forms:
        forms[key] = make()
    return forms[key]  # type: ignore[return-value]  # the key names the type of what it made
