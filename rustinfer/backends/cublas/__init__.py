"""Matrix products by torch's CUDA libraries: the default where a call carries more rows than our own kernels take."""

from __future__ import annotations

from collections.abc import Iterable

from ...registry import Backend, hookimpl
from . import linear
from .backend import cublas

__all__ = ["cublas", "linear"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end of this package."""
    return (cublas,)
