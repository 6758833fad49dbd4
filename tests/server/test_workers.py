"""The server's worker threads are all there from its start."""

from __future__ import annotations

import threading
import time

from rustinfer.server.workers import started


def test_no_thread_comes_later() -> None:
    before = set(threading.enumerate())

    def ours() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("worker")} - before

    with started() as workers:
        at_first = ours()
        busy = [workers.submit(time.sleep, 0.01) for _ in range(100)]
        assert ours() == at_first
        assert at_first
        assert all(each.result() is None for each in busy)
    assert ours() == set()
