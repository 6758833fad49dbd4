"""Small files of a checkpoint's directory, and the rule that nothing outside of it is read."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

from .errors import CheckpointError

_JSON_LIMIT = 1 << 26


def inside(directory: Path, name: str) -> Path:
    """A file of the directory. One that a path or a link leads out of it is refused, but for the hub cache's own."""
    path = (directory / name).resolve()
    roots = [directory.resolve()]
    if roots[0].parent.name == "snapshots":  # the hub cache links each snapshot to its neighbour, blobs
        roots.append(roots[0].parent.parent / "blobs")
    if not any(path.is_relative_to(root) for root in roots):
        raise CheckpointError(f"{directory}: {name} lies outside of the checkpoint's directory")
    return path


def regular(path: Path) -> Path:
    """The path of a file, not of a pipe, which could be waited for without end. Raises OSError for any other."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
    return path


def read_text(directory: Path, name: str, most: int = 1 << 28) -> str | None:
    """A text file of at most `most` bytes; None if there is none."""
    path = inside(directory, name)
    try:
        if path.is_file() and path.stat().st_size > most:
            raise CheckpointError(f"{directory / name}: has {path.stat().st_size} bytes, more than {most}")
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{directory / name}: cannot be read: {error}") from None


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """A JSON file that holds a table; empty if there is none."""
    text = read_text(directory, name, _JSON_LIMIT)
    if text is None:
        return {}
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{directory / name}: not valid JSON: {error}") from None
    if not isinstance(table, dict):
        raise CheckpointError(f"{directory / name}: not a table")
    return table
