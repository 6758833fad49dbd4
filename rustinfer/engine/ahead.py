"""What makes a start shorter: the GPU is opened beside the imports, and the garbage collector waits for their end."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DRIVER = "libcuda.so.1"


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """What is made while importing and loading stays: looking at it again and again frees nothing."""
    awake = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if awake:
            gc.enable()


def open_gpu(device: str) -> threading.Thread | None:
    """Begin to make the first GPU's primary context, which torch takes up as its own; None where none is wanted.

    Torch's libraries follow. Where there is no driver or no GPU nothing happens: it is torch that says so.
    """
    if device == "cpu":
        return None
    # Not a daemon: one that is within torch when the interpreter goes brings the process down.
    thread = threading.Thread(target=_open, name="rustinfer-gpu")
    thread.start()
    return thread


def _open() -> None:
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return
    threading.Thread(target=_hash_triton, name="rustinfer-triton", daemon=True).start()
    # Kept for as long as the process lives: nobody gives it back.
    if driver.cuInit(0) == 0 and driver.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0) == 0:
        _multiply()


def _hash_triton() -> None:
    """Triton looks its compiled kernels up by a hash of all of itself, which the first of them finds made."""
    try:
        from triton.runtime.cache import triton_key
    except ImportError:  # it is not installed, or makes its hash elsewhere, and then when it is wanted
        return
    triton_key()


def _multiply() -> None:
    """A first kernel and a first product: what they load and set up takes a while, beside the rest of the imports."""
    import torch  # the main thread is at it: this waits

    if torch.cuda.is_available():
        one = torch.ones(1, 1, dtype=torch.bfloat16, device="cuda")
        torch.mm(one, one)
