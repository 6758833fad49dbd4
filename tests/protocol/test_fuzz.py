"""The decoder under inputs that a fuzzer found: F20. `make fuzz` looks for more."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Saw

from .fuzzed import CORPUS, one, seed
from .test_codec import MESSAGES


def test_f20_the_corpus(saw: Saw) -> None:
    """Every input that a fuzzer, led by coverage, has kept, to the decoder of frames."""
    inputs = [bytes.fromhex(line) for line in CORPUS.read_text().split()]
    messages = sum(map(one, inputs))
    assert len(inputs) > 100
    assert 0 < messages < len(inputs)
    assert all(one(seed(message)) for message in MESSAGES)
    saw(
        f"{messages} of {len(inputs)} are messages, and come back the same; the others: ProtocolError, nothing else",
        None,
    )


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed")
def test_f20_fuzz(saw: Saw) -> None:
    """atheris on the decoder for half a minute, from the kept inputs."""
    command = [sys.executable, "-m", "tests.protocol.fuzz", "-max_total_time=30", "-print_final_stats=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (tried,) = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    assert int(tried) > 10_000
    saw(f"{tried} inputs, led by coverage: ProtocolError or a message that comes back the same", None)
