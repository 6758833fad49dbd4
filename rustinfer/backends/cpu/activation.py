"""Gated activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Target

from .backend import cpu
from .library import library
from .plan import DTYPES
from .rows import flat


@cpu.kernel(ops.silu_mul, build=True)
def silu_mul(target: Target) -> Callable[[Tensor], Tensor]:
    """Both halves in one pass, in fp32."""
    return _gated(target, 0)


@cpu.kernel(ops.gelu_mul, build=True)
def gelu_mul(target: Target) -> Callable[[Tensor], Tensor]:
    """Both halves in one pass, in fp32."""
    return _gated(target, 1)


def _gated(target: Target, form: int) -> Callable[[Tensor], Tensor]:
    run, code, empty = library().ri_gated, DTYPES[target.dtype], torch.empty

    def call(x: Tensor) -> Tensor:
        width = x.shape[-1] // 2
        out, matrix = empty((*x.shape[:-1], width), dtype=x.dtype), flat(x)
        run(code, form, matrix.data_ptr(), matrix.stride(0), matrix.shape[0], width, out.data_ptr())
        return out

    return call
