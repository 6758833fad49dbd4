"""What both processes hold while nobody asks for anything, and whether it grows."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.world import Engine, Process, Server

Held = dict[str, float]
"""Memory in MiB; how many descriptors of each kind, threads and tasks."""
MOST_MIB_PER_MINUTE = 0.1
SETTLE_SECONDS = 20.0
"""How long what the last round left may take to go: closed connections, requests that were hung up on."""


def files(process: Process) -> Counter[str]:
    """Open descriptors by their kind: socket, pipe, anon_inode:[eventpoll], file."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed meanwhile
            continue
        kinds["file" if target.startswith("/") else re.sub(r":\[?\d+\]?$", "", target)] += 1
    return kinds


def held(engine: Engine, server: Server) -> Held:
    """What there is now. The tasks are asked for last: the connection for that may be counted a moment longer."""
    found: Held = {}
    for name, process in (("engine", engine), ("server", server)):
        usage = process.usage()
        found |= {f"{name} MiB": usage.kilobytes / 1024, f"{name} threads": usage.threads}
        found |= {f"{name} {kind}": count for kind, count in files(process).items()}
    now = server.metrics()
    return found | {"server tasks": now["server_tasks"], "pages": now["cache_pages_used"]}


def settled(look: Callable[[], Held], least: Held) -> Held:
    """What is held once it is no more than `least`, or after a while."""
    end = time.monotonic() + SETTLE_SECONDS
    while grown(now := look(), least) and time.monotonic() < end:
        time.sleep(0.5)
    return now


def grown(now: Held, before: Held) -> dict[str, float]:
    """By how much each of what is counted has grown; memory is not counted."""
    return {
        name: value - before.get(name, 0)
        for name, value in now.items()
        if not name.endswith("MiB") and value > before.get(name, 0)
    }


def most(samples: list[Held]) -> Held:
    """The highest of each."""
    return {name: max(sample.get(name, 0) for sample in samples) for name in set().union(*samples)}


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares of (seconds, value), per minute."""
    n = len(points)
    x, y = sum(t for t, _ in points) / n, sum(v for _, v in points) / n
    spread = sum((t - x) ** 2 for t, _ in points)
    return 60 * sum((t - x) * (v - y) for t, v in points) / spread if spread else 0.0
