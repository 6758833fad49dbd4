"""Who sent the request that is being answered: the name of its key, as `Keys.find` gives it; empty without keys."""

from __future__ import annotations

from contextvars import ContextVar

CALLER: ContextVar[str] = ContextVar("caller", default="")
