"""Where engine and servers meet: a Unix socket in a directory that only its owner can enter, or TCP with a key."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from pathlib import Path

from rustinfer.errors import UserError

_LONGEST = 100
"""Bytes of a socket path that every Unix takes (Linux allows 107)."""


def private_address() -> str:
    """A fresh `ipc://` address in a new directory of mode 0700, not to be guessed; the caller removes it when done."""
    directory = Path(tempfile.gettempdir()) / f"rustinfer-{secrets.token_urlsafe(16)}"
    directory.mkdir(mode=0o700)
    return f"ipc://{directory}/engine"


def check(address: str, *, key: bool) -> None:
    """Raises UserError for an address that cannot be used, or not with or without a key."""
    if not address.startswith("tcp://"):
        socket_path(address)
        if key:
            raise UserError(f"{address} needs no --wire-key-file: its directory lets nobody else in")
        return
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UserError(f"the engine address must look like tcp://HOST:PORT, not {address!r}")
    if not key:
        raise UserError(f"{address} is open to whoever reaches it: name a key with --wire-key-file")


def socket_path(address: str) -> Path:
    """The path in an `ipc://` address."""
    path = address.removeprefix("ipc://")
    if path == address or not Path(path).is_absolute():
        raise UserError(f"the engine address must look like ipc:///absolute/path or tcp://HOST:PORT, not {address!r}")
    if len(path.encode()) > _LONGEST:
        raise UserError(f"the engine address is longer than {_LONGEST} bytes: choose a shorter directory")
    return Path(path)


def claim(address: str) -> int:
    """Make the socket's directory private and take its lock: the lock's file descriptor, held while it stays open.

    The lock is what tells a live engine from a socket file left by a dead one, which libzmq would both replace.
    """
    path = socket_path(address)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as e:
        raise UserError(f"cannot make the engine's directory {path.parent}: {e.strerror}") from None
    found = path.parent.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(f"{path.parent} is open to others: run `chmod 700 {path.parent}` or choose another directory")
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise UserError(f"another engine (process {owner}) already serves {address}: stop it first") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
