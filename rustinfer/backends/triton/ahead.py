"""Triton tells its version by hashing all of itself, 0.35 s in each process: begun beside the rest of a start."""

from __future__ import annotations

import threading
from importlib.util import find_spec

import torch


def hash_triton() -> threading.Thread | None:
    """Begin, where kernels will be looked up in Triton's cache; the first of them finds the hash made."""
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return None
    thread = threading.Thread(target=_hash, name="rustinfer-triton", daemon=True)
    thread.start()
    return thread


def _hash() -> None:
    try:
        from triton.runtime.cache import triton_key
    except ImportError:  # other versions keep it elsewhere, and then make it when it is wanted
        return
    triton_key()
