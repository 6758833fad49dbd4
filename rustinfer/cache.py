"""Where this machine keeps what need not be made twice: models, compiled kernels, choices that were measured."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """RUSTINFER_CACHE, or ~/.cache/rustinfer. It may not be there yet."""
    return Path(os.environ.get("RUSTINFER_CACHE") or "~/.cache/rustinfer").expanduser()
