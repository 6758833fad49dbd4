"""How many cores this process may use, and telling the kernels' threads and torch's."""

from __future__ import annotations

import os
from pathlib import Path

import torch

SYSTEM = Path("/sys/devices/system/cpu")
GROUP = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Physical cores among the CPUs this process may run on, and no more than its control group's quota pays for."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(GROUP)))


def set_threads(count: int | None = None) -> int:
    """Run kernels and torch on `count` threads, or on one a physical core. Returns the count."""
    from .library import library, missing

    threads = count or physical_cores()
    torch.set_num_threads(threads)
    if missing() is None:
        library().ri_set_threads(threads)
    return threads


def _core(cpu: int) -> str:
    """What a CPU's siblings have in common: the list of them."""
    siblings = SYSTEM / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        return siblings.read_text().strip()
    except OSError:
        return str(cpu)


def _quota(group: Path) -> int:
    """Whole CPUs that the control group's quota pays for; a large number where there is none."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return 2**31 if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        pass
    try:
        spent = int((group / "cpu" / "cpu.cfs_quota_us").read_text())
        each = int((group / "cpu" / "cpu.cfs_period_us").read_text())
        return 2**31 if spent <= 0 else max(1, spent // each)
    except (OSError, ValueError, ZeroDivisionError):
        return 2**31
