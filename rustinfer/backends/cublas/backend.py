"""The back end itself: where it runs, and why it may not."""

from __future__ import annotations

import torch

from ...registry import Backend, Refusal, Requires


def available() -> Refusal:
    """Why no kernel of this back end can run here, or None."""
    return None if torch.cuda.is_available() else "there is no GPU here"


cublas = Backend(
    "cublas",
    requires=Requires("cuda", frozenset({torch.float32, torch.float16, torch.bfloat16})),
    available=available,
)
