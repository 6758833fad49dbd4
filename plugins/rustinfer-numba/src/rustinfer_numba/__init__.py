"""A back end for CPUs: loops in Python, compiled by Numba for one dtype and thread count at bind.

It is not a replacement for a BLAS: products with dense weights, and packed ones with many rows, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from rustinfer import Backend, hookimpl

from . import activation, attention, cache, linear, norm, rotary
from .backend import numba

__all__ = ["activation", "attention", "cache", "linear", "norm", "numba", "rotary", "rustinfer_backends"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The one back end, with the kernels that the modules of this package registered on it."""
    return [numba]
