"""CUDA C++ kernels, compiled by NVRTC when they are bound: a whole decoder, few rows' products, attention."""

from __future__ import annotations

from collections.abc import Iterable

from ...registry import Backend, hookimpl
from . import attend, decode, few, joint, one
from .backend import cuda

__all__ = ["attend", "cuda", "decode", "few", "joint", "one"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end of this package."""
    return (cuda,)
