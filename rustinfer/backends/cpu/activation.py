"""Gated activations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .plan import DTYPES


@cpu.kernel(ops.silu_mul, build=True, batch_invariant=True)
def silu_mul(target: Target) -> Callable[[Tensor], Tensor]:
    """Both halves in one pass, in fp32."""
    return _gated(target, 0)


@cpu.kernel(ops.gelu_mul, build=True, batch_invariant=True)
def gelu_mul(target: Target) -> Callable[[Tensor], Tensor]:
    """Both halves in one pass, in fp32."""
    return _gated(target, 1)


def _gated(target: Target, form: int) -> Callable[[Tensor], Tensor]:
    run, code = library().ri_gated, DTYPES[target.dtype]

    def call(x: Tensor) -> Tensor:
        width = x.shape[-1] // 2
        x = x.contiguous()
        out = x.new_empty(*x.shape[:-1], width)
        run(code, form, x.data_ptr(), x.shape[:-1].numel(), width, out.data_ptr())
        return out

    return call
