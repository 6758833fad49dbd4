"""CUDA C++ kernels, compiled by NVRTC when they are bound: one that runs a whole decoder for a token in one launch."""

from __future__ import annotations

from collections.abc import Iterable

from ...registry import Backend, hookimpl
from . import decode
from .backend import cuda

__all__ = ["cuda", "decode"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end of this package."""
    return (cuda,)
