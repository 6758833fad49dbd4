from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from rustinfer.cli.chart import HEIGHT, WIDTH, chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("top", "want"),
    [
        (16, [0, 5, 10, 15, 20]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (730, [0, 200, 400, 600, 800]),
        (0, [0, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_top(top: float, want: list[float]) -> None:
    assert ticks(top) == pytest.approx(want)


def test_points_lie_where_they_belong() -> None:
    root = ET.fromstring(chart("t", "x", "y", {"a": [(0, 0), (10, 100)], "b <i>": [(5, 50)]}))
    circles = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{SVG}circle")]
    (x0, y0), (x1, y1), (x2, y2) = circles
    assert (x2, y2) == (pytest.approx((x0 + x1) / 2), pytest.approx((y0 + y1) / 2))
    assert x0 < x1
    assert y0 > y1
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in circles)
    assert "b <i>" in [text.text for text in root.iter(f"{SVG}text")]


def test_nothing_to_draw_is_no_error() -> None:
    ET.fromstring(chart("t", "x", "y", {}))
