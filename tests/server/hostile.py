"""Requests that nobody would send in good faith: good ones, spoilt in one to three places, or in their bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from .golden import REQUESTS


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}} if depth % 2 else [value]
    return value


VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 1.5, 1e308, -0.0, "", "a", "\0", "\u202e", "🙂",
    "a/b", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "{{ 7*7 }}", "<|end|>", "x" * 5000,
    "{% for i in range(10**9) %}x{% endfor %}", [], {}, [[]], [{}], [None], {"": None}, {"__proto__": 1},
    {"type": "object"}, {"$ref": "#"}, {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}},
    ["a"] * 300, list(range(300)), [2**40], _deep(40), _deep(201), {str(i): i for i in range(300)}, "auto",
    "required", {"type": "json_schema"}, {"type": "regex"}, "NaN",
]  # fmt: skip
KEYS = ["", "a", "stream", "n", "model", "tools", "messages", "functions", "suffix", "user", "\n", "x" * 300, "ü"]
SCRAPS = [b"", b"\0", b"\xff", b'"', b"{", b"[", b"NaN", b"1e999", b"\\u", b"\xed\xa0\x80"]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
VALUE = st.sampled_from(VALUES) | ANY


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def spoilt(draw: st.DrawFn, body: dict[str, Any]) -> dict[str, Any]:
    """The body with something replaced, taken away or added, up to three times."""
    made = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        *outer, last = draw(st.sampled_from([*places(made), ("model",)]))
        at: Any = made
        for key in outer:
            at = at[key]
        what = draw(st.sampled_from(["replace"] * 4 + ["take", "add"]))
        if what == "take" and isinstance(at, dict):
            at.pop(last, None)
        elif what == "add" and isinstance(at, dict):
            at[draw(st.sampled_from(KEYS))] = copy.deepcopy(draw(VALUE))
        else:
            at[last] = copy.deepcopy(draw(VALUE))
    return made


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path and a body. One in ten is spoilt in its bytes, too."""
    path, good = draw(st.sampled_from(REQUESTS))
    raw = json.dumps(draw(spoilt(good)), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) < 9:
        return path, raw
    spoiled = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(spoiled)))
        spoiled[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(SCRAPS))
    return path, bytes(spoiled)
