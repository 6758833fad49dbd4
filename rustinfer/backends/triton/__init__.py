"""Portable GPU kernels in Triton; with TRITON_INTERPRET=1 they run on a CPU, slowly, for tests.

Importing this package does not import triton: kernels are loaded when they are built.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...registry import Backend, hookimpl
from . import (
    activation,
    attention,
    cache,
    embedding,
    fused,
    linear,
    mask,
    norm,
    penalty,
    place,
    rotary,
    sampling,
    summed,
)
from .backend import triton

__all__ = [
    "activation",
    "attention",
    "cache",
    "embedding",
    "fused",
    "linear",
    "mask",
    "norm",
    "penalty",
    "place",
    "rotary",
    "sampling",
    "summed",
    "triton",
]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end of this package."""
    return (triton,)
