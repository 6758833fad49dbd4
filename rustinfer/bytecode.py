"""Python's own compiled modules: a package without them is compiled at each start, which takes 2 s for torch."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from .cache import cache_root


def missed(package: str) -> Path | None:
    """The folder of a package that Python finds without bytecode; None where there is some, or no package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None or spec.cached is None or Path(spec.cached).exists():
        return None
    return Path(spec.origin).parent


def lost(package: str) -> Path | None:
    """The folder of a package that each start compiles anew: it has no bytecode, and Python may keep none."""
    return missed(package) if sys.dont_write_bytecode else None


def keep(package: str) -> None:
    """Have Python keep in our cache what it compiles, where it may write but not beside the package's sources."""
    folder = missed(package)
    if folder and not (sys.dont_write_bytecode or sys.pycache_prefix or os.access(folder, os.W_OK)):
        sys.pycache_prefix = str(cache_root() / "bytecode")
