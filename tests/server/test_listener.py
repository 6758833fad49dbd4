"""The socket on which clients arrive, and room for them."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from rustinfer.errors import UserError
from rustinfer.server.listener import inherited, listen

ROOM = """
import resource as r
from rustinfer.server.listener import make_room
r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}))
make_room()
print(*r.getrlimit(r.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(64, 4096), (512, 512)])
def test_there_is_room_for_connections(soft: int, hard: int) -> None:
    code = ROOM.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{hard} {hard}"


def test_an_inherited_socket_must_listen() -> None:
    listener = listen("127.0.0.1", 0)
    assert inherited(listener.detach()).getsockname()[1] > 0
    with socket.socket() as silent, pytest.raises(UserError, match="does not listen"):
        inherited(silent.detach())
    with pytest.raises(UserError, match="is no socket"):
        inherited(10_000)
