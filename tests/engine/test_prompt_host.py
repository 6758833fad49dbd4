"""The host's part of a prompt, as a benchmark has it: an `LLM` whose graphs cost nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAGS = ("--model", "null", "--tokens", "128", "--rounds", "1", "--sequences", "4")


def test_the_benchmark_of_the_host_runs() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.prompt_turns", *FLAGS, f"now={ROOT}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "128" in done.stdout
