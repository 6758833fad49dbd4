"""Responses that may be asked for again: bounded in number and size, the oldest forgotten first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock
from typing import Any

from ..errors import dump

MAX_RESPONSES = 1000
MAX_BYTES = 64 << 20


@dataclass
class Entry:
    """`messages` are the conversation up to and with this response, of which it answers the first `asked`.

    `task` runs it, where it is in the background.
    """

    owner: str
    response: dict[str, Any]
    messages: list[dict[str, Any]]
    asked: int = 0
    task: asyncio.Task[None] | None = None
    size: int = 0


class ResponseStore:
    """One for one application, and for its threads. A response is seen by its owner alone."""

    def __init__(self, most: int = MAX_RESPONSES, most_bytes: int = MAX_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._size = 0
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id: str, owner: str) -> Entry | None:
        entry = self._entries.get(id)
        return entry if entry is not None and entry.owner == owner else None

    def said(self, owner: str) -> dict[str, dict[str, Any]]:
        """What its owner's responses put out, by the items' ids."""
        mine = [e.response for e in self._all if e.owner == owner]
        return {item["id"]: item for response in mine for item in response["output"]}

    def put(self, entry: Entry) -> None:
        """Keep it, or its newer state."""
        id = str(entry.response["id"])
        self.drop(id)
        entry.size = len(dump(entry.response)) + len(dump(entry.messages))
        with self._lock:
            self._entries[id] = entry
            self._size += entry.size
            while len(self._entries) > self._most or (self._size > self._most_bytes and self._entries):
                self.drop(next(iter(self._entries)))

    def drop(self, id: str) -> None:
        """Forget it. What runs in the background goes on."""
        with self._lock:
            entry = self._entries.pop(id, None)
            self._size -= entry.size if entry is not None else 0

    @property
    def running(self) -> int:
        """Responses that run in the background."""
        return sum(entry.task is not None and not entry.task.done() for entry in self._all)

    @property
    def _all(self) -> list[Entry]:
        return list(self._entries.values())  # at once: others may put and drop some meanwhile
