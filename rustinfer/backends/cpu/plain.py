"""A second back end, `torch`: products in plain torch, for machines without a C++ compiler and for CPUs with AMX.

The reference dequantises a packed weight at every call; these do it once, and pay with memory (four or two bytes a
number). It holds nothing that plain torch does not do better than the reference does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Backend, PackedWeight, Requires, Target, Weight, dense, shared

plain = Backend("torch", requires=Requires("cpu", frozenset({torch.float32, torch.bfloat16})))


def _packed(bound: Mapping[str, Any]) -> str | None:
    return (
        None if isinstance(bound["weight"], PackedWeight) else "is for packed weights; dense ones need no preparation"
    )


def _once(weight: Weight) -> Tensor:
    """The weight as a dense tensor, made once for all bindings."""
    return shared(weight, "dense", lambda: dense(weight))


@plain.kernel(ops.linear, build=True, when=_packed)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """A dense product with the weight dequantised at bind."""
    return partial(F.linear, weight=_once(weight), bias=bias)


@plain.kernel(ops.lm_head, build=True, when=_packed)
def lm_head(target: Target, *, weight: Weight) -> Callable[[Tensor, Tensor], Tensor]:
    """A dense product with the weight dequantised at bind, to float32."""
    matrix = shared(weight, "dense float32", lambda: _once(weight).float())
    return lambda hidden, rows: F.linear(hidden[rows].float(), matrix)
