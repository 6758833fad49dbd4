"""Load with aborts, errors and grammars, and what is held afterwards: F22, T12. `make soak` does it for long."""

from __future__ import annotations

import json

import pytest

from benchmarks.soak.__main__ import problems, soak
from benchmarks.soak.held import grown, slope
from tests.conftest import ROOT, Saw

from .conftest import World


@pytest.mark.timeout(900)
def test_f22_t12_soak(world: World, saw: Saw) -> None:
    """Load with 20 % aborts, 5 % errors and 5 % grammars for half a minute; 20 minutes by `make soak`."""
    result = soak(world.engine, world.server, 0.5, round_seconds=10)
    assert result["faults"] == []
    assert [each for each in problems(result) if "MiB" not in each] == []  # caches still fill
    long = json.loads((ROOT / "benchmarks" / "results" / "cpu" / "soak.json").read_text())
    saw(f"{result['answered']} answered, {result['aborted']} hung up, {result['refused']} refused; nothing left", None)
    server, engine = (long["MiB a minute"][f"{name} MiB"] for name in ("server", "engine"))
    saw(f"in 20 minutes {long['sent']} requests; MiB a minute: engine {engine}, server {server}; nothing left", None)
    assert long["problems"] == []


def test_growth_is_seen() -> None:
    flat = {"minutes": 20, "faults": [], "MiB a minute": {"server MiB": 0.09}}
    held = {"server socket": 4.0, "pages": 0.0, "server MiB": 60.0}
    assert problems({**flat, "most at warm-up": held, "last": {**held, "server MiB": 70.0}}) == []
    leaking = {**held, "server socket": 5.0, "server pipe": 1.0, "pages": 2.0}
    found = problems({**flat, "MiB a minute": {"server MiB": 0.11}, "most at warm-up": held, "last": leaking})
    assert [each.split(" than")[0] for each in found[1:4]] == [
        "1 more server socket",
        "2 more pages",
        "1 more server pipe",
    ]
    assert found[0] == "server MiB grow by 0.11 a minute"
    assert found[4] == "2 pages of the cache were not given back"
    assert grown({"a": 1, "b MiB": 9}, {"a": 1}) == {}
    assert slope([(0, 1.0), (60, 3.0), (120, 5.0)]) == pytest.approx(2.0)
