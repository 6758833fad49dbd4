"""Formats of what models write, brought by entry points: a group and a kind of value for calls, and for thoughts."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar

F = TypeVar("F", bound="Format")
log = logging.getLogger(__name__)


class Format(Protocol):
    """What all formats have; `name` is told to people, and is one format's alone."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Tried:
    """An entry point and what became of it: a format, or an error; neither where it is disabled."""

    point: EntryPoint
    format: Format | None = None
    error: str = ""


def tried(group: str, kind: type[Format]) -> list[Tried]:
    """Every entry point of the group, each loaded by itself, our own first. Nothing raises."""
    blocked = set(os.environ.get("RUSTINFER_DISABLE_PLUGINS", "").split(","))
    found: list[Tried] = []
    for point in sorted(entry_points(group=group), key=lambda p: (not p.value.startswith("rustinfer."), p.name)):
        known = {each.format.name for each in found if each.format is not None}
        found.append(Tried(point) if point.name in blocked else _load(point, kind, known))
    return found


def loaded(group: str, kind: type[F]) -> dict[str, F]:
    """The formats by name. One that cannot be loaded is an ERROR line, and an error where plugins are strict."""
    found: dict[str, F] = {}
    for each in tried(group, kind):
        if isinstance(each.format, kind):
            found[each.format.name] = each.format
        elif each.error:
            log.error("%s: %s (%s) failed to load: %s", group, each.point.name, each.point.value, each.error)
            if os.environ.get("RUSTINFER_STRICT_PLUGINS"):
                raise RuntimeError(f"{group} {each.point.name} failed to load: {each.error}")
    return found


def _load(point: EntryPoint, kind: type[Format], known: set[str]) -> Tried:
    try:
        format = point.load()
    except (Exception, SystemExit) as error:  # a plugin that exits is as broken as one that raises
        return Tried(point, error=f"{type(error).__name__}: {error}")
    if not isinstance(format, kind):
        return Tried(point, error=f"it is not a {kind.__module__}.{kind.__name__}")
    if format.name in known:
        return Tried(point, error=f"there is another format {format.name!r}")
    return Tried(point, format)
