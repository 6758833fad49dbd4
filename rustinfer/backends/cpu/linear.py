"""Products with dense, int4 and int8 weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target, Weight

from .alone import alone
from .backend import PRODUCT, cpu
from .library import library
from .plan import Pinned, readable


@cpu.kernel(ops.linear, requires=PRODUCT, build=True, when=readable, batch_invariant=True)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Packed integers are expanded in registers for a few rows and in the cache for many, never as a whole.

    In bfloat16, packed weights meet activations of 16-bit integers with a scale for each 32 columns (error 2^-16).
    """
    pinned, run, outputs = Pinned(target.dtype, weight, bias=bias), library().ri_linear, weight.shape[0]
    address = pinned.address

    def call(x: Tensor, keep: Pinned = pinned) -> Tensor:
        x = x.contiguous()
        count = x.shape[0]
        out = x.new_empty(count, outputs)
        run(address, x.data_ptr(), count, out.data_ptr())
        return out

    return alone(target, weight, call, (0,))


@cpu.kernel(ops.lm_head, build=True, when=readable, batch_invariant=True)
def lm_head(target: Target, *, weight: Weight) -> Callable[[Tensor, Tensor], Tensor]:
    """Only the selected rows are read, in place."""
    pinned, run, vocab = Pinned(target.dtype, weight), library().ri_lm_head, weight.shape[0]
    address, empty = pinned.address, torch.empty

    def call(hidden: Tensor, picked: Tensor, keep: Pinned = pinned) -> Tensor:
        hidden, picked = hidden.contiguous(), picked.contiguous()
        count = picked.shape[0]
        out = empty((count, vocab), dtype=torch.float32)
        run(address, hidden.data_ptr(), picked.data_ptr(), count, out.data_ptr())
        return out

    return alone(target, weight, call, (1,))
