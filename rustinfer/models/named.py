"""Weights by names that are known before any weight is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ..registry import Weight


class Named(Mapping[str, Weight]):
    """A mapping whose `names` are all that iteration, `len` and `in` look at: only a look-up reads a weight."""

    names: Collection[str]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
