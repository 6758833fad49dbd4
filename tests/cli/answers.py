"""What a small server says: for tests of HTTP clients."""

from __future__ import annotations

import json
from typing import Any


class Answers:
    """What the server says to each path, and what it was asked."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[int, str]] = {}
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""


def events(*chunks: object, done: bool = True) -> tuple[int, str]:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return 200, ": keep-alive\n\n" + "".join(lines) + ("data: [DONE]\n\n" if done else "")


def models(*names: str) -> tuple[int, str]:
    return 200, json.dumps({"data": [{"id": name} for name in names]})
