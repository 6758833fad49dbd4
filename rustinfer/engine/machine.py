"""What this machine lends: cores and memory, inside the limits of its container."""

from __future__ import annotations

import os
from pathlib import Path

CPU = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def physical_cores(cpu: Path = CPU, cgroup: Path = CGROUP) -> int:
    """Cores this process may use, hyper-threads counted once, and no more than its share of time."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_read(cpu / f"cpu{number}/topology/thread_siblings_list") or str(number) for number in allowed}
    quota, _, period = (_read(cgroup / "cpu.max") or "max 1").partition(" ")
    if quota.isdigit() and period.isdigit():
        return max(1, min(len(cores), int(quota) // int(period)))
    return len(cores)


def give_way() -> None:
    """Have torch's threads sleep soon after an operator, where nobody has said otherwise. Before torch is imported.

    They would look out for the next one for some 6 ms, all the while on a core that the kernels' own threads, the
    server or its clients are waiting for.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"  # about 50 us: operators that follow each other still find them awake


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """Bytes that this process can still take without swapping."""
    lines = dict(line.split(":", 1) for line in (_read(meminfo) or "").splitlines() if ":" in line)
    free = int(lines.get("MemAvailable", "4194304 kB").split()[0]) * 1024
    limit, used = _read(cgroup / "memory.max") or "max", _read(cgroup / "memory.current") or "0"
    return min(free, max(int(limit) - int(used), 0)) if limit.isdigit() and used.isdigit() else free


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
