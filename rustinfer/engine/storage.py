"""The cache's tensors, and the first touch of every kernel."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..models import CacheSpec, Model, Step
from ..models.model import Cache
from ..registry import Target

WARM_TOKENS = 64
ALIGNMENT = 64


def bytes_per_token(spec: CacheSpec, dtype: torch.dtype) -> int:
    """Bytes that one token takes in the cache, keys and values of all layers together."""
    return 2 * spec.layers * spec.kv_heads * spec.head_dim * dtype.itemsize


def allocate(spec: CacheSpec, pages: int, page_size: int, target: Target) -> Cache:
    """Zeroed cache tensors: what has not been written must be finite."""
    shape = (pages, spec.kv_heads, page_size, spec.head_dim)
    return [(zeros(shape, target), zeros(shape, target)) for _ in range(spec.layers)]


def zeros(shape: tuple[int, ...], target: Target) -> torch.Tensor:
    """Like torch.zeros, but on a CPU the memory is taken from the system only when it is written to."""
    if target.device.type != "cpu":
        return torch.zeros(shape, dtype=target.dtype, device=target.device)
    size = math.prod(shape) * target.dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return torch.from_numpy(raw[start : start + size]).view(target.dtype).view(shape)


@torch.inference_mode()
def warm_up(model: Model, device: torch.device, tokens: int = 1, sequences: int = 1) -> torch.Tensor:
    """Run a model once on rows that are not written to the cache: `tokens` each. Returns the last rows' logits."""
    step = idle(device, tokens, sequences)
    return model.logits(model.forward(step), step.query_starts[1:].long() - 1)


def idle(device: torch.device, tokens: int, sequences: int) -> Step:
    """A step of `tokens` rows of each sequence that leaves nothing behind."""
    rows = tokens * sequences
    return Step(
        tokens=torch.zeros(rows, dtype=torch.int64, device=device),
        positions=torch.arange(tokens, device=device).repeat(sequences),
        slots=torch.full((rows,), -1, dtype=torch.int64, device=device),
        query_starts=torch.arange(sequences + 1, dtype=torch.int32, device=device) * tokens,
        lengths=torch.full((sequences,), tokens, dtype=torch.int32, device=device),
        # One page stands for all that the positions need: what is read is thrown away.
        pages=torch.zeros(sequences, tokens, dtype=torch.int32, device=device),
    )
