"""The server's worker threads are all there from its start."""

from __future__ import annotations

import threading
import time

from rustinfer.server.workers import started


def test_no_thread_comes_later() -> None:
    before = threading.active_count()
    with started() as workers:
        at_first = threading.active_count()
        busy = [workers.submit(time.sleep, 0.01) for _ in range(100)]
        assert threading.active_count() == at_first > before
        assert all(each.result() is None for each in busy)
    assert threading.active_count() == before
