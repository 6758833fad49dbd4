"""Who sends what is no message, again and again, is not heard any more."""

from __future__ import annotations

TOLERATED = 16
"""Frames of one connection that may be no message: a version that differs a little sends some, a stranger many."""
_REMEMBERED = 4096


class Bans:
    """Counts offences by connection. A connection that comes anew begins anew, which costs its owner a greeting."""

    def __init__(self) -> None:
        self._offences: dict[bytes, int] = {}

    def __contains__(self, peer: bytes) -> bool:
        return self._offences.get(peer, 0) >= TOLERATED

    def add(self, peer: bytes) -> bool:
        """Count one. True for the one that makes it a ban."""
        count = self._offences.pop(peer, 0) + 1
        self._offences[peer] = count  # put last: the one that has been quiet for the longest is forgotten first
        if len(self._offences) > _REMEMBERED:
            del self._offences[next(iter(self._offences))]
        return count == TOLERATED
