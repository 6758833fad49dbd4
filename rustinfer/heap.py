"""Memory that was freed and not given back: glibc keeps what lies between blocks in use, and more of it with time."""

from __future__ import annotations

import ctypes
import sys

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def trim() -> None:
    """Give the system what is free, with glibc. Takes milliseconds: for moments in which nobody waits."""
    if _libc is not None and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
