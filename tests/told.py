"""The table of faults and attacks, written from a run of their tests: what was done, what was seen, the time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

INTRODUCTION = """\
# Faults and attacks

Written by `make faults` from a run, not by hand: each line is told by the test that did it. Those of `tests/faults` and
`tests/attacks` work on real processes with a tiny model; after each case the engine is the same process, all pages are
free, no task, descriptor or thread is left, and the next request gets the known answer. A case may stand here more than
once, in several forms, and in both tables.
"""
HEADS = {"F": "Faults", "T": "Attacks"}


@dataclass(frozen=True)
class Row:
    """One line. `seconds` is the time of what `seen` says, None where it has none of its own."""

    name: str
    done: str
    seen: str
    seconds: float | None

    @property
    def ids(self) -> list[str]:
        """`test_f5_f6_hang_up` is about F5 and F6."""
        found = re.match(r"test((?:_[ft]\d+)+)", self.name)
        return [word.upper() for word in found[1].split("_") if word] if found else []

    def order(self, letter: str) -> tuple[int, str]:
        """By the first of its numbers in that letter's table."""
        return min(int(id[1:]) for id in self.ids if id.startswith(letter)), self.name

    def written(self) -> str:
        time = "" if self.seconds is None else f"{self.seconds * 1000:.0f} ms"
        return f"| {', '.join(self.ids)} | {self.done} | {self.seen} | {time} |"


class Told:
    """The rows of a run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, file: Path) -> None:
        """The tables as Markdown."""
        parts = [INTRODUCTION]
        for letter, head in HEADS.items():
            rows = [row for row in self.rows if any(id.startswith(letter) for id in row.ids)]
            lines = [row.written() for row in sorted(rows, key=lambda row: row.order(letter))]
            if lines:
                table = ["| | what was done | what the client saw | time |", "|---|---|---|---:|", *lines]
                parts.append(f"## {head}\n\n" + "\n".join(table) + "\n")
        file.write_text("\n".join(parts))
