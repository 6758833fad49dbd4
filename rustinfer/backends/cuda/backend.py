"""The back end itself: where it runs, why it may not, and what went wrong in a kernel that gave up waiting."""

from __future__ import annotations

import torch
from torch import Tensor

from ...registry import Backend, Refusal, Requires
from . import nvrtc

STAGES = (
    "", "the layer before", "queries", "other shares", "attention", "the residual", "hidden units", "the last layer",
    "a tile on its way", "a free slot",
)  # fmt: skip  # as `Stage` in kernels/shape.cuh numbers them
_watched: list[Tensor] = []


def available() -> Refusal:
    """Why no kernel of this back end can run here, or None."""
    if not torch.cuda.is_available():
        return "there is no GPU here"
    return nvrtc.missing()


def watch(error: Tensor) -> None:
    """Look at this word of host memory, which a kernel sets when a wait of its has taken too long."""
    _watched.append(error)


def fault() -> Refusal:
    """What a kernel reported, or None. Costs no synchronisation: kernels write to host memory."""
    return next((explained(int(word)) for word in _watched if word.item()), None)


def explained(code: int) -> str:
    """A kernel's error code in words."""
    stage, layer, block = code >> 8 & 255, code >> 16 & 0xFFFF, code >> 32
    where = "" if layer == 0xFFFF else f" of layer {layer}"
    return f"decode_step gave up: block {block} waited too long for {STAGES[stage]}{where}"


# Compiled for Hopper and Blackwell: on older chips there are no bulk copies into shared memory.
cuda = Backend("cuda", requires=Requires("cuda", frozenset({torch.bfloat16}), min_sm=(9, 0)), available=available)
