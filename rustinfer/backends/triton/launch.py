"""How kernels are launched: programmatic launch, block sizes, where programs meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


class Shares:
    """Where the programs that share an output's columns meet: their partial sums, and who has come."""

    def __init__(self, target: Target, grid: tuple[int, int, int], config: Mapping[str, Any]) -> None:
        self.workspace = target.workspace
        self.blocks = grid[0] * grid[1] if grid[2] > 1 else 0
        self.size = self.blocks * grid[2] * config["BM"] * config["BR"]

    def __call__(self, unused: Tensor) -> tuple[Tensor, Tensor]:
        """(sums, counters); without shares something that is not read."""
        if not self.blocks:
            return unused, unused
        sums = self.workspace.scratch(unused.device, "shares", self.size)
        return sums, self.workspace.counters(unused.device, self.blocks)
