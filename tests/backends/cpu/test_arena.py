"""Memory for repacked weights: aligned, apart, and as large as asked."""

from __future__ import annotations

import pytest

from rustinfer.backends.cpu.arena import ALIGN, PAGE, PIECE, Arena
from rustinfer.backends.cpu.library import missing


@pytest.fixture
def arena() -> Arena:
    """An arena of its own."""
    if reason := missing():
        pytest.skip(reason)
    return Arena()


def test_parts_are_aligned_and_apart(arena: Arena) -> None:
    parts = [arena.take(size) for size in (1, 64, 65, 1000, 3)]
    assert [len(p) for p in parts] == [1, 64, 65, 1000, 3]
    assert all(p.data_ptr() % ALIGN == 0 for p in parts)
    for number, part in enumerate(parts):
        part.fill_(number)
    assert all((part == number).all() for number, part in enumerate(parts))


def test_parts_share_a_piece_that_starts_on_a_large_page(arena: Arena) -> None:
    first, second = arena.take(100), arena.take(100)
    assert first.data_ptr() % PAGE == 0
    assert second.data_ptr() == first.data_ptr() + 128


def test_what_exceeds_a_piece_gets_its_own(arena: Arena) -> None:
    large = arena.take(PIECE + 5)
    assert large.numel() == PIECE + 5
    large[-1] = 7
    assert arena.take(PIECE).numel() == PIECE
