"""The back end itself: where it runs, and why it may not."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from ...registry import Backend, Refusal, Requires

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})
FEW_ROWS = 64  # beyond, a library's product is faster, even where a packed weight must be made dense for it first


def available() -> Refusal:
    """Why no kernel of this back end can run here, or None."""
    if find_spec("triton") is None:
        return "triton is not installed: pip install 'rustinfer[cuda]'"
    if INTERPRETED:
        from .interpreter import repair

        repair()
        return None
    if not torch.cuda.is_available():
        return "there is no GPU here (TRITON_INTERPRET=1 runs the kernels on the CPU, slowly)"
    return None


def on(*, rows: int | None = None) -> Requires:
    """What a kernel for up to so many rows asks of its target."""
    return Requires(DEVICE, DTYPES, min_sm=None if INTERPRETED else (8, 0), max_rows=rows)


triton = Backend("triton", requires=on(), available=available)
