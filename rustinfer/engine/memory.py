"""What this process holds of memory. Imports torch only for a device that is not the CPU."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Memory:
    """Bytes: resident in main memory, and of the device as a whole. 0 where it is not known, or there is no device."""

    resident: int = 0
    device: int = 0
    device_used: int = 0


def measure(device: str = "cpu", statm: Path = STATM) -> Memory:
    """Memory as it is now. `device` is the engine's, as in its options."""
    try:
        resident = int(statm.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        resident = 0
    if device == "cpu":
        return Memory(resident)
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return Memory(resident, total, total - free)
