"""Where this machine keeps what need not be made twice: models, compiled kernels, choices that were measured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile


def cache_root() -> Path:
    """RUSTINFER_CACHE, or ~/.cache/rustinfer. It may not be there yet."""
    return Path(os.environ.get("RUSTINFER_CACHE") or "~/.cache/rustinfer").expanduser()


def digest(sources: Iterable[Path], *words: str) -> str:
    """A name for what was made of these files and told by these words: other ones give another name."""
    found = hashlib.sha256("\0".join(words).encode())
    for source in sorted(sources):
        found.update(b"\0" + source.name.encode() + b"\0" + source.read_bytes())
    return found.hexdigest()[:16]


def keep(path: Path, data: bytes) -> None:
    """Write a file, and its directory where that is missing. Whoever reads meanwhile sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
        try:
            scratch.write(data)
            scratch.flush()
            Path(scratch.name).replace(path)
        except OSError:
            Path(scratch.name).unlink()
            raise
