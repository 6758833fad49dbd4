"""C++ kernels for CPUs, compiled for the machine at the first bind. Importing this compiles nothing."""

from __future__ import annotations

from collections.abc import Iterable

from rustinfer.registry import Backend, hookimpl

from . import (  # noqa: F401
    activation,
    attention,
    cache,
    decode,
    embedding,
    fused,
    linear,
    mask,
    norm,
    place,
    rotary,
    sampling,
)
from .backend import cpu
from .library import set_threads
from .plain import plain
from .vnni import vnni

__all__ = ["cpu", "plain", "set_threads", "vnni"]


@hookimpl
def rustinfer_backends() -> Iterable[Backend]:
    """The back ends `cpu`, `vnni` for packed weights, and `torch` for machines without a compiler."""
    return [vnni, cpu, plain]
