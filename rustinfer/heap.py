"""Memory that was freed and not given back: glibc keeps what lies between blocks in use, and more of it with time."""

from __future__ import annotations

import ctypes
import sys

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3
ARENAS, LARGE = 2, 128 << 10


def settle() -> None:
    """For a process with threads of small work: they share what is free, and large blocks go back at once."""
    if _libc is not None and hasattr(_libc, "mallopt"):
        _libc.mallopt(_ARENA_MAX, ARENAS)
        _libc.mallopt(_MMAP_THRESHOLD, LARGE)


def trim() -> None:
    """Give the system what is free, with glibc. Takes milliseconds: for moments in which nobody waits."""
    if _libc is not None and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
