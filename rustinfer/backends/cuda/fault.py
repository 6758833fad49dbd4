"""What a kernel that gave up waiting tells the host: one word of pinned memory, which it writes before it ends."""

from __future__ import annotations

STAGES = (
    "", "the layer before", "queries", "other shares", "attention", "the residual", "hidden units", "the last layer",
    "a tile on its way", "a free slot", "the blocks' best", "the block beside it",
)  # fmt: skip  # as `Stage` in kernels/shape.cuh numbers them
NO_LAYER = 0xFFFF


def explained(code: int) -> str:
    """The word in words."""
    stage, layer, block = code >> 8 & 255, code >> 16 & 0xFFFF, code >> 32
    where = "" if layer == NO_LAYER else f" of layer {layer}"
    return f"block {block} waited too long for {STAGES[stage]}{where}"
