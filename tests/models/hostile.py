"""Opens a checkpoint that was made to do harm as a user would, and holds what comes of it against the bounds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rustinfer.cli import main as cli

SECONDS, KIB = 1.0, 50_000


def peak(*, begin: bool = False) -> int:
    """The most memory that this process held, in KiB; from now on if it is the beginning."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def refused(path: Path, capsys: pytest.CaptureFixture[str], named: str, verb: str = "complete") -> str:
    """Open it as a user would. Returns the one line that comes of it. Seconds are the processor's."""
    capsys.readouterr()
    before, start = peak(begin=True), time.process_time()
    code = cli.main([verb, str(path), *(["-m"] if verb == "chat" else []), "a", "--max-tokens", "1"])
    took, grown = time.process_time() - start, peak() - before
    shown = capsys.readouterr().err
    errors = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert code == 3, shown
    assert len(errors) == 1, shown
    assert named in errors[0]
    assert "Traceback" not in shown
    assert took < SECONDS
    assert grown < KIB
    return errors[0]
