"""Where the CPU's tile unit (AMX) does better than the kernels here: many rows of bfloat16.

oneDNN, behind torch's own product, uses that unit by itself. So the kernels here step aside, in words: a fused op is
composed, its norms, activations and cache writes stay here, and its product is that of the back end `torch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rustinfer.registry import Refusal, Requires, Target


def present() -> bool:
    """Whether this CPU has the unit and the system lets programs use it."""
    return torch.cpu._is_amx_tile_supported()


@dataclass(frozen=True)
class Untiled(Requires):
    """What a product of the back end `cpu` requires: no tile unit that is faster."""

    def refusal(self, target: Target) -> Refusal:
        """Refuse bindings for any number of rows of bfloat16 where there is such a unit; never those for decoding."""
        if told := super().refusal(target):
            return told
        if target.dtype is torch.bfloat16 and target.rows is None and not target.invariant and present():
            return "this CPU has AMX, by which oneDNN multiplies many rows of bfloat16 faster"
        return None
