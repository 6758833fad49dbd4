"""Tokens guessed ahead by looking up what followed the last time: repetitive text costs fewer steps.

A guess never changes what is said. Each of its rows draws the token that the sequence would have drawn at that place,
greedy or at random, and a guess stands as far as it agrees with those.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError

METHOD = "ngram"
MOST = 64
_ITEM = array("q").itemsize


@dataclass(frozen=True)
class Speculation:
    """How to guess: so many tokens, where the last `prompt_lookup_max` tokens stood before, or fewer of them."""

    num_speculative_tokens: int = 4
    prompt_lookup_max: int = 4
    prompt_lookup_min: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 1 <= value <= MOST:
                raise UserError(f"speculative config: {field.name} must be an integer from 1 to {MOST}, not {value!r}")
        if self.prompt_lookup_min > self.prompt_lookup_max:
            raise UserError("speculative config: prompt_lookup_min must be at most prompt_lookup_max")

    @classmethod
    def of(cls, config: str | Mapping[str, Any] | None) -> Speculation | None:
        """From JSON or a mapping, as vLLM spells it; None for no speculation. Raises UserError."""
        if config is None:
            return None
        try:
            given = dict(json.loads(config) if isinstance(config, str) else config)
        except (TypeError, ValueError):
            raise UserError(f'speculative config: write JSON such as {{"method": "{METHOD}"}}') from None
        if (method := given.pop("method", None)) != METHOD:
            raise UserError(f'speculative config: the method must be "{METHOD}", not {method!r}')
        if unknown := sorted(given.keys() - {field.name for field in fields(cls)}):
            known = ", ".join(field.name for field in fields(cls))
            raise UserError(f"speculative config: {unknown[0]!r} is not known; known are method, {known}")
        return cls(**given)

    def guess(self, tokens: array[int], most: int) -> list[int]:
        """At most so many tokens to follow these: those that followed their end where it stood last before."""
        held = tokens.tobytes()
        for size in range(min(self.prompt_lookup_max, len(tokens) - 1), self.prompt_lookup_min - 1, -1):
            at = _last(held, size)
            if at is not None:
                return tokens[at : at + min(self.num_speculative_tokens, most)].tolist()
        return []


def _last(held: bytes, size: int) -> int | None:
    """Where, in tokens, the last earlier stand of the final `size` tokens ends."""
    pattern, stop = held[-size * _ITEM :], len(held) - _ITEM
    while (at := held.rfind(pattern, 0, stop)) >= 0:
        if at % _ITEM == 0:
            return at // _ITEM + size
        stop = at + len(pattern) - 1
    return None
