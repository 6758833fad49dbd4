"""The same sources built for plain machines: no AVX-512, no VNNI, and no vectors to speak of."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from rustinfer.backends.cpu.library import missing

PROGRAM = """
import sys, pytest
from rustinfer.backends.cpu import compiler
compiler.MACHINE = sys.argv[1]
suite = ["--pyargs", "rustinfer.testing.suite", "--backend", "cpu", "-q", "-p", "no:cacheprovider"]
sys.exit(pytest.main([*suite, "-k", "(linear or gate_up_silu or attention or sample) and not float16"]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for x86-64")
@pytest.mark.parametrize("machine", ["-march=x86-64-v3", "-march=x86-64"])
def test_conforms_when_built_for(machine: str) -> None:
    if reason := missing():
        pytest.skip(reason)
    done = subprocess.run([sys.executable, "-c", PROGRAM, machine], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
