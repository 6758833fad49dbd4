"""Kernels that many sites share: compiled and loaded once for each set of constants."""

from __future__ import annotations

from functools import cache

import torch

from ...registry import Target
from . import nvrtc
from .driver import Function

Constants = tuple[tuple[str, int], ...]


def loaded(name: str, target: Target, threads: int, shared: int, **constants: int) -> Function:
    """The kernel `name` of kernels/NAME.cu for the target's device."""
    return _loaded(name, target.device, target.sm or (9, 0), threads, shared, tuple(constants.items()))


@cache
def _loaded(
    name: str, device: torch.device, sm: tuple[int, int], threads: int, shared: int, constants: Constants
) -> Function:
    return Function(nvrtc.compiled(f"{name}.cu", dict(constants), sm).code, name, threads, shared)
