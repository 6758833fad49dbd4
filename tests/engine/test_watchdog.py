"""A process that hangs is ended, in Python code and in C code that holds the interpreter; one that works is not."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from rustinfer.engine.watchdog import Watchdog

HEAD = """
import ctypes, time
from rustinfer.engine.watchdog import Watchdog
turns = 0
with Watchdog(lambda: turns, 0.6):
    for turns in range(8):
        time.sleep(0.1)
"""


@pytest.mark.parametrize("hang", ["time.sleep(1000)", "ctypes.PyDLL(None).sleep(1000)"], ids=["Python", "C"])
def test_a_hang_ends_the_process(hang: str) -> None:
    command = [sys.executable, "-c", f"{HEAD}    {hang}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "most recent call first" in done.stderr


def test_work_and_idleness_put_the_end_off_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, seen, over = [0, 0, 1, 1, 1, None, None, 1, 1], list[int | None](), threading.Event()
    asked: list[object] = []

    def progress() -> int | None:
        if seen == looks:
            over.set()
        else:
            seen.append(looks[len(seen)])
        return seen[-1]

    timer = SimpleNamespace(
        dump_traceback_later=lambda seconds, exit: asked.append((len(seen), seconds, exit)),
        cancel_dump_traceback_later=lambda: asked.append("never"),
    )
    monkeypatch.setattr("rustinfer.engine.watchdog.faulthandler", timer)
    with Watchdog(progress, 0.004):
        assert over.wait(150)
    assert asked == [*((look, 0.004, True) for look in (1, 3, 6, 7, 8)), "never"]
