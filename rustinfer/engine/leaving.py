"""Sequences that left while a step of theirs was in flight."""

from __future__ import annotations

from collections.abc import Iterator

from .kvcache import KVCache
from .sequence import Sequence


class Leaving:
    """Takes pages back from whoever leaves: at once, or where a flight may still write to them when that has landed."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._keep: dict[Sequence, bool] = {}  # whether others may share what it computed

    def __len__(self) -> int:
        return len(self._keep)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._keep

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._keep)

    def give_back(self, sequence: Sequence, keep: bool) -> list[int]:
        """One has left. Returns the pages that it owned, where they are free now and may not be kept."""
        if sequence.flying:
            self._keep[sequence] = keep and self._keep.get(sequence, True)
            return []
        own = self._cache.release(sequence, keep)
        return [] if keep else own

    def landed(self, sequence: Sequence, sound: bool) -> list[int]:
        """One of its steps has come back, with numbers that are sound or not. Returns pages as `give_back` does."""
        if sequence not in self._keep:
            return []
        self._keep[sequence] &= sound
        return [] if sequence.flying else self.give_back(sequence, self._keep.pop(sequence))
