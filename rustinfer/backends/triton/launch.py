"""How kernels are launched: programmatic launch, block sizes, scratch shared by all sites."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...registry import Target

PROGRAMMATIC = True  # benchmarks turn it off to see what it brings


def pdl(target: Target) -> dict[str, Any]:
    """The keyword arguments that let a kernel be placed before its predecessor has ended (from Hopper on)."""
    on = PROGRAMMATIC and target.sm is not None and target.sm >= (9, 0)
    return {"PDL": True, "launch_pdl": True} if on else {"PDL": False}


def power(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and `least`."""
    return max(least, 1 << max(n - 1, 0).bit_length())


def flat(x: Tensor) -> Tensor:
    """The rows of x as a matrix; a copy only where x's leading axes cannot be merged."""
    return x if x.dim() == 2 else x.reshape(-1, x.shape[-1])


@cache
def counters(device: torch.device, count: int) -> Tensor:
    """Arrival counters, zero between launches: sites share them, since kernels of a stream run one after the other."""
    return torch.zeros(count, dtype=torch.int32, device=device)


@cache
def scratch(device: torch.device, count: int, name: str) -> Tensor:
    """Float32 scratch that all sites of one use share. Nothing in it outlives a kernel."""
    return torch.empty(count, dtype=torch.float32, device=device)
