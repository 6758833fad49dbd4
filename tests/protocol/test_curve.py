"""TCP with a key: who has it gets in, and nobody else; without one there is no TCP."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from rustinfer.errors import UserError
from rustinfer.protocol.codec import encode
from rustinfer.protocol.curve import WireKey, make_key, read_key
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import VERSION, Hello
from rustinfer.protocol.router import EngineChannel
from tests.conftest import free_port

from .ends import GENERATE, Log, bind, started, turn


@pytest.fixture
def key(tmp_path: Path) -> WireKey:
    return make_key(tmp_path / "key")


@pytest.fixture
def tcp() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def engine(tcp: str, key: WireKey) -> Iterator[EngineChannel]:
    channel = bind(tcp, key=key)
    yield channel
    channel.close()


def test_who_has_the_key_gets_in(tcp: str, key: WireKey, engine: EngineChannel) -> None:
    async def run() -> None:
        channel, log, task = await started(tcp, key=key)
        await turn(engine, lambda: log.events == [("up", 7)])
        assert channel.send(GENERATE)
        received = await turn(engine, lambda: engine.peers)
        while not received:
            received += engine.poll(0.01)
        assert [each.message for each in received] == [GENERATE]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize("who", ["without a key", "with a key of its own", "with the engine's public half"])
def test_strangers_do_not(tcp: str, key: WireKey, engine: EngineChannel, who: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        public, secret = zmq.curve_keypair()
        if who == "with a key of its own":
            WireKey(secret, public).show(stranger)
        elif who == "with the engine's public half":
            stranger.curve_serverkey, stranger.curve_publickey, stranger.curve_secretkey = key.public, public, secret
        stranger.connect(tcp)
        stranger.send_multipart(encode(Hello(VERSION, "b", "s")))
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert engine.poll(0.05) == []
        assert not stranger.poll(0)
        assert (engine.peers, engine.errors) == ([], 0)


def test_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = make_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_key(file) == read_key(file) == made  # not made anew
    assert made.secret.decode() not in repr(made)
    file.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        read_key(file)
    for text in ("", "short", "\n" * 60):
        (tmp_path / "bad").write_text(text)
        (tmp_path / "bad").chmod(0o600)
        with pytest.raises(UserError, match="holds no key"):
            make_key(tmp_path / "bad")
    with pytest.raises(UserError, match="cannot be read"):
        read_key(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be made"):
        make_key(tmp_path / "none" / "key")


def test_t3_no_tcp_without_a_key_and_no_key_without_tcp(tmp_path: Path, key: WireKey, tcp: str) -> None:
    for address, given, match in (
        (tcp, None, "--wire-key-file"),
        ("tcp://0.0.0.0:5555", None, "--wire-key-file"),
        (f"ipc://{tmp_path}/engine", key, "needs no --wire-key-file"),
        ("tcp://host", key, "tcp://HOST:PORT"),
        ("tcp://:5", key, "tcp://HOST:PORT"),
        ("tcp://a:99999", key, "tcp://HOST:PORT"),
    ):
        with pytest.raises(UserError, match=match):
            bind(address, key=given)
        with pytest.raises(UserError, match=match):
            ServerChannel(address, Log(), build="b", server="s", key=given)


def test_f25_two_engines_on_one_port(tcp: str, key: WireKey, engine: EngineChannel) -> None:
    with pytest.raises(UserError, match="cannot listen"):
        bind(tcp, key=key)
