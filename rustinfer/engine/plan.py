"""What one step computes."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

from .sequence import Sequence, State


@dataclass(frozen=True, slots=True)
class Chunk:
    """Compute tokens [start, start + count) of a sequence; `samples` says that its next token follows from them.

    With a `guess`, only the first of them is known and the guess stands for the others. A token is drawn at every row,
    and none is fed to the next step by the device: `samples` is False.
    """

    sequence: Sequence
    start: int
    count: int
    samples: bool
    guess: tuple[int, ...] = ()

    @property
    def tokens(self) -> Items[int]:
        """What its rows compute."""
        known = self.sequence.tokens
        return (known[self.start], *self.guess) if self.guess else known[self.start : self.start + self.count]


@dataclass(slots=True)
class Plan:
    """The rows of a step, in this order: the newest token of each of `decodes`, then `chunks`.

    `decodes` is the very list of the step before where nobody came or went. Each of its sequences has computed `count`
    tokens more by this step; the values of those need not be known on the host. Where there are chunks `count` is 1.
    One that is `cut` may have computed fewer: its sequences go on when the host knows.
    The pages of `touched` have changed. `moves` are pairs of rows, from and to, of sequences that were given another
    row: whoever follows empties the list.
    """

    decodes: list[Sequence] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    touched: list[Sequence] = field(default_factory=list)
    moves: list[tuple[int, int]] = field(default_factory=list)
    count: int = 1
    cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.decodes or self.chunks)

    def __len__(self) -> int:
        """Sequences in the step."""
        return len(self.decodes) + len(self.chunks)

    @property
    def tokens(self) -> int:
        """Rows of the step."""
        return len(self.decodes) * self.count + sum(chunk.count for chunk in self.chunks)

    @property
    def every(self) -> bool:
        """Whether rows are looked at that are not the last of their sequence: guesses, scores of a prompt, a pool."""
        return any(c.guess or c.sequence.scanned is not None or c.sequence.pooled is not None for c in self.chunks)

    def sequences(self) -> list[Sequence]:
        """Every sequence, in the order of the rows."""
        return [*self.decodes, *(chunk.sequence for chunk in self.chunks)]

    def sampling(self) -> list[Sequence]:
        """The sequences that draw a token, in the order of the rows."""
        if not self.chunks:
            return self.decodes
        return [*self.decodes, *(chunk.sequence for chunk in self.chunks if chunk.samples)]

    def placed(self) -> Iterator[tuple[int, Chunk, int]]:
        """Each chunk, after its number and before the first of its rows."""
        first = len(self.decodes)
        for number, chunk in enumerate(self.chunks):
            yield number, chunk, first
            first += chunk.count

    def cancel(self) -> None:
        """It will not be run: take back what it was going to compute."""
        for sequence in self.decodes:
            sequence.computed -= self.count
        for chunk in self.chunks:
            chunk.sequence.computed = chunk.start

    def halves(self) -> list[Plan]:
        """The plan in two parts of about as many sequences."""
        middle, first = len(self) // 2, len(self.decodes)
        cut = max(middle - first, 0)
        return [
            replace(self, decodes=self.decodes[:middle], chunks=self.chunks[:cut]),
            replace(self, decodes=self.decodes[middle:], chunks=self.chunks[cut:]),
        ]

    def living(self) -> Plan:
        """The plan without the sequences that are done."""
        decodes = [sequence for sequence in self.decodes if sequence.state is not State.DONE]
        chunks = [chunk for chunk in self.chunks if chunk.sequence.state is not State.DONE]
        return replace(self, decodes=decodes, chunks=chunks)

    def shortened(self) -> Plan | None:
        """The same, if it is one chunk, with half of it; None where there is nothing to halve."""
        if self.decodes or len(self.chunks) != 1 or self.chunks[0].count < 2:
            return None
        whole = self.chunks[0]
        if whole.guess:
            whole.sequence.computed = whole.start + 1
            return Plan([], [Chunk(whole.sequence, whole.start, 1, True)], self.touched, self.moves)
        chunk = Chunk(whole.sequence, whole.start, whole.count // 2, False)
        whole.sequence.computed = chunk.start + chunk.count
        return Plan([], [chunk], self.touched, self.moves)

    def alone(self) -> Iterator[Plan]:
        """A plan for each sequence."""
        for sequence in self.decodes:
            yield replace(self, decodes=[sequence], chunks=[])
        for chunk in self.chunks:
            yield Plan([], [chunk], self.touched, self.moves)
