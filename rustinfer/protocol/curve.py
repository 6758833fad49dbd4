"""A key for engine and servers on different machines. Whoever has the file may connect, and nobody else can listen in.

CURVE (Curve25519, as ZeroMQ has it) encrypts and shows each end the other's key; here both have the same.
"""

from __future__ import annotations

import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from rustinfer.errors import UserError

HANDSHAKE_MILLISECONDS = 5000


@dataclass(frozen=True)
class WireKey:
    """Both halves, in Z85."""

    secret: bytes = field(repr=False)
    public: bytes

    def guard(self, context: zmq.Context[Any], socket: zmq.Socket[Any]) -> Any:
        """Before the engine's socket binds: let in whoever has the key. Returns what is to be stopped at the end."""
        from zmq.auth.thread import ThreadAuthenticator

        guard = ThreadAuthenticator(context)
        guard.start()
        guard.configure_curve_callback("*", self)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MILLISECONDS)
        return guard

    def callback(self, domain: str, key: bytes) -> bool:
        """What the authenticator asks of each key that turns up."""
        return hmac.compare_digest(key, self.public)

    def show(self, socket: zmq.Socket[Any]) -> None:
        """Before a server's socket connects."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


def read_key(file: Path) -> WireKey:
    """The key in a file. Raises UserError where there is none, or where others may read it."""
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            text = opened.read(100).strip()
        if mode & 0o077:
            raise UserError(f"the key {file} can be read by others: run `chmod 600 {file}`")
        return WireKey(text, zmq.curve_public(text))
    except OSError as e:
        raise UserError(f"the key {file} cannot be read: {e.strerror}") from None
    except (ValueError, zmq.ZMQError):
        raise UserError(f"the file {file} holds no key: let the engine make one where there is no file yet") from None


def make_key(file: Path) -> WireKey:
    """The key in a file, which is made if it is not there. Raises UserError."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
            made.write(zmq.curve_keypair()[1] + b"\n")
    except FileExistsError:
        pass
    except OSError as e:
        raise UserError(f"the key {file} cannot be made: {e.strerror}") from None
    return read_key(file)
