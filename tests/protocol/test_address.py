"""Where the two ends meet is private, and belongs to one engine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rustinfer.errors import UserError
from rustinfer.protocol.address import claim, private_address
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import (
    VERSION,
    Hello,
)
from rustinfer.protocol.router import EngineChannel

from .ends import Dealer, Log, bind, collect


def test_t3_t37_the_place_is_private(address: str, engine: EngineChannel) -> None:
    directory = Path(address.removeprefix("ipc://")).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert private_address() != private_address()


def test_f25_two_engines_on_one_path(address: str, engine: EngineChannel, dealer: Dealer) -> None:
    with pytest.raises(UserError, match=str(os.getpid())):
        bind(address)
    dealer.send(Hello(VERSION, "b", "s"))
    collect(engine, lambda _: bool(engine.peers))  # the first is unharmed


def test_f25_a_stale_socket_file_is_no_obstacle(address: str) -> None:
    path = Path(address.removeprefix("ipc://"))
    path.touch()
    bind(address).close()


def test_open_directories_and_other_transports_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(UserError, match="chmod 700"):
        claim(f"ipc://{tmp_path}/engine")
    for bad in ("inproc://a", "ipc://relative", "ipc://@abstract", "", f"ipc:///{'x' * 200}"):
        with pytest.raises(UserError):
            claim(bad)
        with pytest.raises(UserError):
            ServerChannel(bad, Log(), build="b", server="s")
