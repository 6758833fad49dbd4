"""A line chart as SVG, drawn by hand: no library, and it reads on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .output import write

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60
COLOURS = ("#2a78d6", "#e0662c", "#2e9e5b", "#8a5bd1", "#c2385e", "#7a7a7a")
Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) by the name of their line."""


def ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top` or just past it, about five of them."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def chart(title: str, x_label: str, y_label: str, series: Series) -> str:
    """The SVG text. Both axes start at zero."""
    points = [point for line in series.values() for point in line]
    xs, ys = (ticks(max((point[axis] for point in points), default=0.0)) for axis in (0, 1))

    def x(value: float) -> float:
        return round(LEFT + value / xs[-1] * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / ys[-1] * (HEIGHT - TOP - BOTTOM), 1)

    parts = [_text(LEFT, 24, title, "start", 16)]
    for tick in ys:
        parts.append(f'<path d="M{LEFT} {y(tick)}H{WIDTH - RIGHT}" stroke="#8884"/>')
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:g}", "end"))
    parts += [_text(x(tick), HEIGHT - BOTTOM + 18, f"{tick:g}") for tick in xs]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x_label))
    parts.append(f'<g transform="rotate(-90 16 {HEIGHT / 2})">{_text(16, HEIGHT / 2, y_label)}</g>')
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x(a)},{y(b)}" for a, b in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(a)}" cy="{y(b)}" r="3" fill="{colour}"/>' for a, b in line]
        parts.append(f'<text x="{LEFT + 150 * index}" y="42" font-size="12" fill="{colour}">{escape(name)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, *parts, "</svg>", ""])


def draw(path: str, title: str, x_label: str, y_label: str, series: Series) -> None:
    write(path, chart(title, x_label, y_label, series))


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="#888">{escape(text)}</text>'
