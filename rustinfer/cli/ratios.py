"""How many times as much output as another server at the same load, and as the same server at its first level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
OUTPUT = "output_tokens_per_second"


def compared(rows: Sequence[Row], kind: str) -> list[Row]:
    """The rows, each with `times`: its output over that of every other server at its level of `kind`, by name, and
    over its own at the first level (`first level`). What a server that failed would divide by is left out.
    """
    return [row | {"times": _times(row, rows, kind)} for row in rows]


def names(rows: Sequence[Row]) -> list[str]:
    """What the rows are compared with, in the order of the table."""
    return list(dict.fromkeys(name for row in rows for name in row["times"]))


def _times(row: Row, rows: Sequence[Row], kind: str) -> dict[str, float]:
    own = [other for other in rows if other["server"] == row["server"]]
    pairs = {"first level": own[0]} if len(own) > 1 else {}
    pairs |= {other["server"]: other for other in rows if other[kind] == row[kind] and other["server"] != row["server"]}
    return {name: row[OUTPUT] / other[OUTPUT] for name, other in pairs.items() if other[OUTPUT]}
