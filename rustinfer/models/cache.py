"""The directory where fetched models stay, and how a file in it earns trust."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cache import cache_root
from .errors import CheckpointError
from .progress import Tell

_CHUNK = 1 << 20


def cache_directory() -> Path:
    """The cache's root, made if it is not there."""
    path = cache_root()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be made: {error.strerror}; set RUSTINFER_CACHE to another place"
        ) from None
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes on this machine wait for. It goes away with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path, tell: Tell = lambda done: None) -> str:
    """A file's checksum; `tell` hears how many bytes are done."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            tell(done)
    return digest.hexdigest()


def stamped(path: Path, checksum: str) -> bool:
    """Whether the file had this checksum when it was last checked and has not been touched since."""
    try:
        return _stamp_file(path).read_text() == _stamp(path, checksum)
    except OSError:
        return False


def stamp(path: Path, checksum: str) -> None:
    """Remember that the file as it is now has this checksum."""
    _stamp_file(path).write_text(_stamp(path, checksum))


def _stamp_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.checked")


def _stamp(path: Path, checksum: str) -> str:
    status = path.stat()
    return f"{checksum} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n"
