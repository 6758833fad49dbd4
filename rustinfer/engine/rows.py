"""The rows that running sequences have in the runner's tables."""

from __future__ import annotations

from .sequence import Sequence


class Rows:
    """One row for each running sequence, and the first ones for all of them: a step's cost goes by its last row."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count - 1, -1, -1))
        self._gaps = False

    def __len__(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self) -> int:
        """A row in nobody's use."""
        return self._free.pop()

    def give(self, row: int) -> None:
        """Back to the free ones. It leaves a gap, until `close`."""
        self._free.append(row)
        self._gaps = True

    def close(self, running: list[Sequence]) -> list[tuple[Sequence, int]]:
        """Move whoever stands behind a gap into it: those who moved, and the rows that they come from."""
        count = len(running)
        if not self._gaps:
            return []
        self._gaps = False
        strays = [(sequence, sequence.row) for sequence in running if sequence.row >= count]
        if not strays:
            self._free.sort(reverse=True)  # as good as done, mostly
            return []
        holes = [row for row in self._free if row < count]
        for (sequence, _), row in zip(strays, holes, strict=True):
            sequence.row = row
        self._free = list(range(self._count - 1, count - 1, -1))
        return strays
