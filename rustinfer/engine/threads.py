"""How many threads torch's own operators take on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SMALL = 1 << 20
"""Numbers that one thread gets through in less time than others take to wake."""


@contextmanager
def few(work: Tensor) -> Iterator[None]:
    """What is done about a small tensor on a CPU is done by the calling thread alone.

    Torch waits for all of its threads at every operator, so where another process has a core, the one that waits for it
    holds up the step for longer than all of the work takes. Kernels of the back end `cpu` wait for no thread that is
    away, and keep theirs.
    """
    if work.is_cuda or work.numel() > SMALL or (before := torch.get_num_threads()) == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
