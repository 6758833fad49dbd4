"""Structural tags: free text in which certain words are the beginning of JSON that fits a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_TAGS = 128


@dataclass(frozen=True)
class Tag:
    """At `trigger` in the text come `begin`, of which it is the head, JSON that fits `schema`, and `end`."""

    trigger: str
    begin: str
    schema: Any
    end: str


def tags(text: str) -> list[Tag]:
    """Of the object that vLLM and SGLang know, as JSON: its `structures` and `triggers`. Raises ValueError in words."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("must be JSON") from None
    value = value if isinstance(value, dict) else {}
    structures, triggers = value.get("structures"), value.get("triggers")
    if not isinstance(structures, list) or not 0 < len(structures) <= MAX_TAGS:
        raise ValueError(f"must have 1 to {MAX_TAGS} structures")
    if not isinstance(triggers, list) or not triggers or not all(isinstance(t, str) and t for t in triggers):
        raise ValueError("must have a list of strings as its triggers")
    return [_tag(structure, triggers) for structure in structures]


def _tag(structure: Any, triggers: list[str]) -> Tag:
    if not isinstance(structure, Mapping) or not isinstance(structure.get("schema"), (dict, bool)):
        raise ValueError("must have structures with a schema each")
    begin, end = structure.get("begin"), structure.get("end")
    if not isinstance(begin, str) or not isinstance(end, str):
        raise ValueError("must have structures with a begin and an end each, both strings")
    trigger = next((t for t in triggers if begin.startswith(t)), None)
    if trigger is None:
        raise ValueError(f"has a structure that begins with none of the triggers: {begin[:40]!r}")
    return Tag(trigger, begin, structure["schema"], end)
