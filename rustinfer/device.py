"""What an error says of the device and its memory. Torch has types for little of it, and this does not import torch."""

from __future__ import annotations

STICKY = ("illegal memory access", "misaligned address", "device-side assert", "launch failure", "illegal instruction")
NO_MEMORY = "can't allocate memory"


def short_of_memory(error: BaseException) -> bool:
    """Whether it went wrong for want of memory, of the device or of the host."""
    return type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or NO_MEMORY in str(error)


def lost(error: BaseException) -> bool:
    """Whether the device is of no use after it."""
    return type(error).__name__ == "AcceleratorError" or any(words in first_line(error) for words in STICKY)


def first_line(error: BaseException) -> str:
    """What it says first: torch goes on with advice, and with a trace."""
    return str(error).strip().partition("\n")[0]
