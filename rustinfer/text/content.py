"""What messages say, in the forms that clients send it in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def content_of(value: Any) -> str | None:
    """What a message says: a string, or text parts put together. Raises ValueError for anything else."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of text parts")
    texts = [text_of(part, ("text",)) for part in value]
    if None in texts:
        raise ValueError('may hold parts of the form {"type": "text", "text": "..."} only')
    return "".join(filter(None, texts))


def text_of(part: Any, kinds: Collection[str]) -> str | None:
    """What a part of a message says, as a text of one of these kinds or as a refusal; None for anything else."""
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("refusal" if kind == "refusal" else "text") if kind in ("refusal", *kinds) else None
    return text if isinstance(text, str) else None
