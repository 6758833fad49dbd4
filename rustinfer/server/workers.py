"""The threads for what would hold up the event loop."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def started() -> ThreadPoolExecutor:
    """As many as asyncio takes by default, all at once: one that comes late looks like one that was left behind."""
    count = min(32, (os.cpu_count() or 1) + 4)
    workers, together = ThreadPoolExecutor(count, "worker"), Barrier(count)
    for met in [workers.submit(together.wait) for _ in range(count)]:
        met.result()
    return workers
