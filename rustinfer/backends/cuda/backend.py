"""The back end itself: where it runs, and why it may not."""

from __future__ import annotations

import torch

from ...registry import Backend, Refusal, Requires
from . import nvrtc


def available() -> Refusal:
    """Why no kernel of this back end can run here, or None."""
    if not torch.cuda.is_available():
        return "there is no GPU here"
    return nvrtc.missing()


# Compiled for Hopper and Blackwell: on older chips there are no bulk copies into shared memory.
cuda = Backend("cuda", requires=Requires("cuda", frozenset({torch.bfloat16}), min_sm=(9, 0)), available=available)
