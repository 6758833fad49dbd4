"""That torch's threads leave the cores to those who have work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rustinfer.engine.machine import give_way

WAITS = """
import os, statistics, sys, time
from pathlib import Path
if sys.argv[1:]:
    from rustinfer.engine.machine import give_way
    give_way()
import torch

def awake():
    others = [path for path in Path("/proc/self/task").glob("*/stat") if path.parent.name != str(os.getpid())]
    return any(path.read_text().rsplit(") ", 1)[1][0] == "R" for path in others)

def spent():
    return time.process_time() - time.thread_time()

torch.set_num_threads(2)
x = torch.ones(1 << 20)
x.add_(1)
told = []
for _ in range(20):
    start = spent()
    x.add_(1)
    while awake() and spent() - start < 0.008:
        time.sleep(0.0005)
    told.append(spent() - start)
print(statistics.median(told))
"""


def seconds(*argv: str, **said: str) -> float:
    """Processor time of the other threads for a short operator and a pause: till they sleep, or have had eight ms."""
    ours = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | said
    done = subprocess.run([sys.executable, "-c", WAITS, *argv], env=environment, capture_output=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: nobody to wait for")
def test_torch_s_threads_do_not_wait_on_a_core() -> None:
    # How long they wait by themselves is the CPU's affair: from a fraction of a millisecond to ten.
    assert seconds("give way") < seconds(OMP_WAIT_POLICY="ACTIVE") / 8


def test_who_has_said_how_threads_wait_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    give_way()
    assert "GOMP_SPINCOUNT" not in os.environ
