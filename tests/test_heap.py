from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from pathlib import Path
from rustinfer.heap import trim

def mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

blocks = [bytes(3000) for _ in range(20000)]
kept = blocks[::40]
del blocks
before = mib()
trim()
print(before - mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_lies_between_blocks_in_use_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 20
