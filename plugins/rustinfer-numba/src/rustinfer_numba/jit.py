"""Numba: compiling a loop, and reading and writing the dtypes it does not know. Import it inside a builder only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch

F = TypeVar("F", bound=Callable[..., Any])
# Sums may be reordered, which is what lets them run in vector registers. Infinities and NaN keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz"}
STORAGE = {torch.float32: "float32", torch.bfloat16: "uint16"}


def compiled(signature: str, *, parallel: bool = False, ordered: bool = False) -> Callable[[F], F]:
    """Decorator: compile now, for exactly this signature; the result holds no lock on the interpreter while it runs.

    `ordered` keeps sums in the order in which they are written.
    """
    fastmath = False if ordered else FASTMATH
    jit = numba.njit(signature, fastmath=fastmath, nogil=True, parallel=parallel, error_model="numpy")
    return cast("Callable[[F], F]", jit)


def threads() -> int:
    """How many threads a loop may use: as many as torch does."""
    return min(torch.get_num_threads(), int(numba.get_num_threads()))


def codec(dtype: torch.dtype) -> tuple[str, Callable[[Any], Any], Callable[[Any], Any]]:
    """How the dtype is stored, and the functions that read it as float32 and write float32 to it."""
    return (STORAGE[dtype], same, same) if dtype == torch.float32 else (STORAGE[dtype], widen, narrow)


@compiled("float32(float32)")
def same(x: Any) -> Any:
    return x


@compiled("float32(uint16)")
def widen(bits: Any) -> Any:
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@compiled("uint16(float32)")
def narrow(x: Any) -> Any:
    if x != x:
        return np.uint16(0x7FC0)  # rounding could carry a NaN's bits over into an infinity
    bits = np.float32(x).view(np.uint32)
    odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled("float32(float32)", ordered=True)
def exp(x: Any) -> Any:
    """e to the x within two units in the last place; a polynomial, so that loops over it run in vector registers."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    # ln 2 in two parts: added up first, they would be rounded to one float32.
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
