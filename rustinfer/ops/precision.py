"""In which precision a reference computes, and how exactly a kernel must do what it does."""

from __future__ import annotations

import torch
from torch import Tensor

from rustinfer.registry import Tolerance

EXACT = Tolerance(floor={torch.float32: 0.0, torch.float16: 0.0, torch.bfloat16: 0.0})
"""For an op whose results are copies or whole numbers."""


def wide(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is if it is float64: kernels are judged against references run in float64."""
    return x if x.dtype == torch.float64 else x.float()
