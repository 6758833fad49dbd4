"""The socket on which clients arrive: opened here, or by the supervisor, which keeps it open while servers change."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress

from rustinfer.errors import UserError

UNANSWERED_SECONDS = 60
"""How long sent bytes may stay unacknowledged before the kernel ends the connection."""
BACKLOG = 2048
MOST_DESCRIPTORS = 1 << 16


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises UserError where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        _watch_peers(listener)
        listener.listen(BACKLOG)
    except OSError as e:
        reason = "is in use: choose another with --port" if getattr(e, "errno", 0) == 98 else f"cannot be used: {e}"
        raise UserError(f"port {port} on {host} {reason}") from None
    return listener


def make_room() -> None:
    """Let this process hold as many connections as it may: most systems begin with 1024 descriptors and allow more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that the parent process left under this descriptor. Raises UserError if it is none."""
    try:
        found = socket.socket(fileno=descriptor)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as e:
        raise UserError(f"--listen-fd={descriptor} is no socket: {e.strerror}") from None
    if not listens:
        raise UserError(f"--listen-fd={descriptor} is a socket that does not listen")
    found.set_inheritable(False)
    return found


def _watch_peers(listener: socket.socket) -> None:
    """Let the kernel give up on peers that vanished without a word; connections inherit this from their listener."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_SECONDS * 1000)
