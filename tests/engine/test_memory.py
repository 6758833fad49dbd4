"""Memory of this process."""

from __future__ import annotations

from pathlib import Path

from rustinfer.engine.memory import Memory, measure


def test_what_is_taken_shows() -> None:
    before = measure().resident
    taken = bytearray(64 << 20)
    taken[::4096] = b"x" * len(taken[::4096])
    assert measure().resident - before > 48 << 20
    assert before > 1 << 20


def test_elsewhere_it_is_not_known(tmp_path: Path) -> None:
    assert measure(statm=tmp_path / "none") == Memory(0, 0, 0)
