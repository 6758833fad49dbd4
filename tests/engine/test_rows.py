"""Rows: the first ones go first, whatever order they came back in."""

from __future__ import annotations

from rustinfer.engine.rows import Rows
from rustinfer.engine.sequence import Sequence

from .fakes import request


def test_the_first_free_row_is_taken_even_where_nobody_had_to_move() -> None:
    rows = Rows(6)
    running = [Sequence(request(name, [1]), 0, 0, 0, 0) for name in "abcde"]
    for sequence in running:
        sequence.row = rows.take()
    for row in (2, 3, 4):
        rows.give(row)
    assert rows.close(running[:2]) == []
    assert [rows.take() for _ in range(4)] == [2, 3, 4, 5]
