"""Where the time of a start goes."""

from __future__ import annotations

import time

import pytest

from rustinfer.engine.phases import Phases


class Slow(dict[str, int]):
    def __getitem__(self, key: str) -> int:
        time.sleep(0.02)
        return super().__getitem__(key)


def test_inner_phases_are_not_counted_twice() -> None:
    phases = Phases()
    with phases.phase("bind"):
        weights = phases.timed("weights", Slow(a=1))
        assert weights["a"] + weights["a"] == 2
        assert "b" not in weights
        assert list(weights) == ["a"]
        assert len(weights) == 1
        with pytest.raises(KeyError):
            weights["b"]
        time.sleep(0.01)
    assert list(phases.seconds) == ["bind", "weights"]
    assert phases.seconds["weights"] >= 0.06
    assert 0.01 <= phases.seconds["bind"] < phases.seconds["weights"]
    assert str(phases).startswith("bind 0.0 s, weights 0.")
