"""The same memory as a torch tensor and as a NumPy array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def array(x: Tensor) -> Array:
    """The tensor's own memory; bfloat16 as its bits, in uint16."""
    result: Array = (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
    return result


def rows(x: Tensor) -> Array:
    """A dense array [rows, width]; strided tensors are copied."""
    return array(x.reshape(-1, x.shape[-1]).contiguous())


def floats(x: Tensor) -> Array:
    """The numbers in float32, dense: for weights, once, at bind."""
    return array(x.float().contiguous())
