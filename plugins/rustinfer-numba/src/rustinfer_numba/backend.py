"""The back end that every module of this package registers its kernels on."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from rustinfer import Backend, Requires

DTYPES = frozenset({torch.float32, torch.bfloat16})


def missing() -> str | None:
    """Why nothing here can run, or None. Numba itself is imported by the first kernel that is built."""
    return None if find_spec("numba") else "numba is not installed: pip install numba"


# Numba has no 16-bit floats on a CPU. bfloat16 is the upper half of a float32, which two shifts read; float16 is not.
numba = Backend("numba", requires=Requires("cpu", DTYPES), available=missing)
