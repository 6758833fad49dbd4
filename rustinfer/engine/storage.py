"""The cache's tensors, and the first touch of every kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..models import CacheSpec, Step
from ..models.model import Cache
from ..registry import Target
from .runner import Wiring

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
def warm_up(wirings: Sequence[Wiring], device: torch.device, tokens: int) -> None:
    """Run every wiring once, on rows that are not written to the cache."""
    for wiring in wirings:
        rows = 1 if wiring.rows else min(tokens, WARM_TOKENS)
        step = Step(
            tokens=torch.zeros(rows, dtype=torch.int64, device=device),
            positions=torch.zeros(rows, dtype=torch.int64, device=device),
            slots=torch.full((rows,), -1, dtype=torch.int64, device=device),
            query_starts=torch.tensor([0, rows], dtype=torch.int32, device=device),
            lengths=torch.tensor([rows], dtype=torch.int32, device=device),
            # One page stands for all that the positions need: what is read is thrown away.
            pages=torch.zeros(1, rows, dtype=torch.int32, device=device),
        )
        wiring.model.logits(wiring.model.forward(step), torch.zeros(1, dtype=torch.int64, device=device))
