"""How long a start took, part by part."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..models.named import Named
from ..registry import Weight


@dataclass
class Phases:
    """Seconds by the phase's name, in the order in which they began. A phase inside of another is not counted twice."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inner: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the block."""
        outer, self._inner = self._inner, 0.0
        self.seconds.setdefault(name, 0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            span = time.perf_counter() - start
            self.seconds[name] += span - self._inner
            self._inner = outer + span

    def timed(self, name: str, items: Mapping[str, Weight]) -> Timed:
        """The same mapping, each look-up measured as a part of the phase `name`."""
        return Timed(self, name, items)

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


class Timed(Named):
    """A mapping that measures its look-ups."""

    def __init__(self, phases: Phases, name: str, items: Mapping[str, Weight]) -> None:
        self._phases, self._name = phases, name
        self.source = self.names = items

    def __getitem__(self, key: str) -> Weight:
        with self._phases.phase(self._name):
            return self.source[key]
