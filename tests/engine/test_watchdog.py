"""A process that hangs is ended, in Python code and in C code that holds the interpreter; one that works is not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAD = """
import ctypes, time
from rustinfer.engine.watchdog import Watchdog
turns = 0
with Watchdog(lambda: turns, 0.6):
    for turns in range(8):
        time.sleep(0.1)
"""


def run(code: str) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=30, check=False)
    return done, time.monotonic() - started


@pytest.mark.parametrize("hang", ["time.sleep(20)", "ctypes.PyDLL(None).sleep(20)"], ids=["Python", "C"])
def test_a_hang_ends_the_process(hang: str) -> None:
    done, seconds = run(f"    {hang}")
    assert done.returncode == 1
    assert seconds < 18
    assert "Timeout" in done.stderr
    assert "most recent call first" in done.stderr


def test_work_and_idleness_do_not() -> None:
    assert run("    turns = None\n    time.sleep(1.5)")[0].returncode == 0
    assert run("")[0].returncode == 0
