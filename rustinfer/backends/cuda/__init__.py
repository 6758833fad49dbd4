"""CUDA C++ kernels, compiled by NVRTC when they are bound: a whole decoder in one launch, products of a few rows."""

from __future__ import annotations

from collections.abc import Iterable

from ...registry import Backend, hookimpl
from . import decode, few, joint, one
from .backend import cuda

__all__ = ["cuda", "decode", "few", "joint", "one"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end of this package."""
    return (cuda,)
