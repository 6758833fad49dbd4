"""Where the time of a start goes."""

from __future__ import annotations

import pytest

from rustinfer.engine.phases import Phases


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_inner_phases_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, phases = Clock(), Phases()
    monkeypatch.setattr("rustinfer.engine.phases.time", clock)

    class Slow(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            clock.now += 0.02
            return super().__getitem__(key)

    with phases.phase("bind"):
        weights = phases.timed("weights", Slow(a=1))
        assert weights["a"] + weights["a"] == 2
        assert "b" not in weights
        assert list(weights) == ["a"]
        assert len(weights) == 1
        with pytest.raises(KeyError):
            weights["b"]
        clock.now += 0.01
    assert list(phases.seconds) == ["bind", "weights"]
    assert phases.seconds == pytest.approx({"bind": 0.01, "weights": 0.06})
    assert str(phases) == "bind 0.0 s, weights 0.1 s"
