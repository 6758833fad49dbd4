"""The Triton kernels against their ops' references on the CPU, through Triton's interpreter.

The interpreter is chosen when triton is imported, so the kernels run in a process of their own, once for all tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton", reason="triton is not installed: pip install 'rustinfer[cuda]'")

import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from rustinfer.backends.triton import triton as backend
from rustinfer.backends.triton.interpreter import repair

ROOT = Path(__file__).parents[3]


def told_by(module: str) -> Any:
    """What a module beside this one prints in the end, as a process of its own, which has the interpreter."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"{__package__}.{module}"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def judged() -> dict[str, tuple[int, list[str]]]:
    """Points passed, and failures, by kernel."""
    results: dict[str, tuple[int, list[str]]] = told_by("interpreted")
    return results


@pytest.mark.parametrize("kernel", sorted(backend.kernels))
def test_kernel_agrees_with_its_reference(kernel: str, judged: dict[str, tuple[int, list[str]]]) -> None:
    passed, failures = judged[kernel]
    assert not failures, "\n".join(failures)
    assert passed, f"no point of {kernel} was judged"


def test_a_row_of_a_product_is_the_same_in_any_place() -> None:
    repair()
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal(shape, np.float32) for shape in ((16, 192), (192, 32)))
    zeros = TensorHandle(np.zeros((16, 32), np.float32), tl.float32)

    def product(rows: np.ndarray) -> np.ndarray:
        operands = (TensorHandle(each, tl.float32) for each in (rows, b))
        made: np.ndarray = InterpreterBuilder().create_dot(*operands, zeros, 0, 0).data
        return made

    whole = product(a)
    assert np.allclose(whole, a @ b, atol=1e-4)
    for places in range(1, 16):
        assert (product(np.roll(a, places, 0)) == np.roll(whole, places, 0)).all()
        assert (product(np.where(np.arange(16)[:, None] < places, a, 0))[:places] == whole[:places]).all()


def test_t22_every_token_is_in_the_vocabulary() -> None:
    for size, tokens in told_by("vocabularies").items():
        assert len(tokens) == 18
        assert 0 <= min(tokens) <= max(tokens) < int(size), size
