"""Rows of a result beside those of other servers and of the first level."""

from __future__ import annotations

from typing import Any

import pytest

from rustinfer.cli.ratios import compared, names


def row(server: str, clients: int, output: float) -> dict[str, Any]:
    return {"server": server, "clients": clients, "output_tokens_per_second": output}


def test_each_is_compared_with_its_first_level_and_with_the_others_at_its_own() -> None:
    rows = compared([row("ours", 1, 200), row("theirs", 1, 100), row("ours", 8, 600), row("theirs", 8, 120)], "clients")
    assert rows[2]["times"] == {"first level": 3, "theirs": 5}
    assert rows[3]["times"] == {"first level": pytest.approx(1.2), "ours": pytest.approx(0.2)}
    assert names(rows) == ["first level", "theirs", "ours"]


def test_one_row_has_nothing_beside_it() -> None:
    assert compared([row("ours", 1, 200)], "clients")[0]["times"] == {}


def test_nothing_is_a_multiple_of_nothing() -> None:
    rows = compared([row("ours", 1, 200), row("dead", 1, 0)], "clients")
    assert rows[0]["times"] == {}
    assert rows[1]["times"] == {"ours": 0}
