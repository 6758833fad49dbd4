"""The two ends together: greeting, requests, losses, strangers, and frames that are none."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from rustinfer.errors import UserError
from rustinfer.protocol.address import claim, private_address
from rustinfer.protocol.bans import TOLERATED, Bans
from rustinfer.protocol.codec import encode
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import (
    VERSION,
    Abort,
    Delta,
    Drain,
    Generate,
    Hello,
    Message,
    Output,
    Ping,
    Pong,
    Stats,
    Welcome,
)
from rustinfer.protocol.router import NOBODYS, EngineChannel, Gone, Received
from rustinfer.protocol.sampling import SamplingParams

from .test_codec import CARD, Bomb, V


@pytest.fixture
def address() -> Iterator[str]:
    address = private_address()
    yield address
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


def bind(address: str, epoch: int = 7, **more: Any) -> EngineChannel:
    return EngineChannel(address, CARD, epoch=epoch, build="b", fingerprint="f", **more)


class Dealer:
    """A bare socket that says what it is told, well formed or not."""

    def __init__(self, address: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    def send(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames)

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def engine(address: str) -> Iterator[EngineChannel]:
    channel = bind(address, probe_seconds=0.05)
    yield channel
    channel.close()


@pytest.fixture
def dealer(address: str, engine: EngineChannel) -> Iterator[Dealer]:
    dealer = Dealer(address)
    yield dealer
    dealer.close()


def collect(engine: EngineChannel, until: Callable[[list[Received]], bool]) -> list[Received]:
    found: list[Received] = []
    end = time.monotonic() + 20
    while not until(found):
        assert time.monotonic() < end, found
        found += engine.poll(0.02)
    return found


GENERATE = Generate("r", [1, 2], SamplingParams())


def test_greeting_and_request(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    (received,) = collect(engine, lambda found: len(found) == 1)
    assert received.message == GENERATE
    assert dealer.socket.recv_multipart() == encode(Welcome(VERSION, "b", 7, "f", CARD))
    assert engine.send(received.peer, Delta(7, []))
    assert dealer.socket.recv_multipart()[1] in (b"delta", b"pong")


def test_requests_before_hello_are_dropped(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(encode(GENERATE))
    dealer.send(encode(Abort(["r"])))
    dealer.send(encode(Ping(3)))
    assert collect(engine, lambda _: engine.errors == 2) == []
    told: list[list[bytes]] = []
    while len(told) < 3:
        assert engine.poll(0.02) == []
        told += [dealer.socket.recv_multipart()] if dealer.socket.poll(0) else []
    assert told == [encode(Pong(n, NOBODYS)) for n in (0, 0, 3)]


def test_t2_f14_what_is_no_message_is_counted_and_dropped(
    tmp_path: Path, address: str, engine: EngineChannel, dealer: Dealer
) -> None:
    luck = random.Random(1)
    noise = [[luck.randbytes(luck.randrange(40)) for _ in range(luck.randrange(1, 6))] for _ in range(200)]
    pickled = pickle.dumps(Bomb(tmp_path / "made"))
    noise += [[pickled], [V, b"generate", pickled], [V, b"hello", b"\xdd\xff\xff\xff\xff"], [b""] * 50]
    noise += [[V, b"abort", b"\x91" * 100_000], encode(Drain()), encode(Hello(VERSION, "b", "s"))[:2]]
    for at in range(0, len(noise), TOLERATED - 1):
        stranger = Dealer(address)
        for frames in noise[at : at + TOLERATED - 1]:
            stranger.send(frames)
        collect(engine, lambda _, at=at: engine.errors >= min(at + TOLERATED - 1, len(noise)))  # type: ignore[misc]
        stranger.close()
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    (received,) = collect(engine, bool)
    assert received.message == GENERATE
    assert engine.errors == len(noise)
    assert not (tmp_path / "made").exists()


def test_f14_who_goes_on_is_not_heard_any_more(address: str, engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    (received,) = collect(engine, bool)
    for _ in range(TOLERATED):
        dealer.send([b"noise"])
    assert collect(engine, bool) == [Received(received.peer, Gone())]
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    assert collect(engine, lambda _: engine.errors == TOLERATED + 2) == []
    assert engine.peers == []
    other = Dealer(address)
    other.send(encode(Hello(VERSION, "b", "s")))
    other.send(encode(GENERATE))
    assert collect(engine, bool)[0].message == GENERATE
    other.close()


def test_bans_remember_so_many_and_no_more() -> None:
    bans = Bans()
    for number in range(10_000):
        bans.add(b"%d" % number)
    assert len(bans._offences) < 5000
    assert [bans.add(b"x") for _ in range(TOLERATED)] == [False] * (TOLERATED - 1) + [True]
    assert b"x" in bans
    assert b"9999" not in bans


def test_a_vanished_server_is_reported_once(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    (received,) = collect(engine, bool)
    dealer.close()
    gone = collect(engine, bool)
    assert gone == [Received(received.peer, Gone())]
    assert not engine.send(received.peer, Drain())
    assert engine.peers == []
    time.sleep(0.1)
    assert engine.poll() == []


def test_a_silent_server_loses_its_lease(address: str) -> None:
    now = 0.0
    engine = bind(address, clock=lambda: now)
    dealer = Dealer(address)
    dealer.send(encode(Hello(VERSION, "b", "s")))
    collect(engine, lambda _: bool(engine.peers))
    now = 9.0
    assert engine.poll() == []
    assert engine.peers
    now = 10.1
    assert [r.message for r in engine.poll()] == [Gone()]
    dealer.close()
    engine.close()


def test_f15_a_server_that_never_reads_is_given_up(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(encode(Hello(VERSION, "b", "s")))
    dealer.send(encode(GENERATE))
    (received,) = collect(engine, bool)
    large = Delta(7, [Output("r", 0, [1] * 2000)])
    sent, started = 0, time.monotonic()
    while engine.send(received.peer, large):
        sent += 1
        assert sent < 20_000
    assert time.monotonic() - started < 20
    assert [r.message for r in engine.poll()] == [Gone()]


def test_idle_poll_waits_and_a_frame_wakes_it(engine: EngineChannel, dealer: Dealer) -> None:
    started = time.thread_time()
    assert engine.poll(0.3) == []
    assert time.thread_time() - started < 0.1
    threading.Timer(0.1, lambda: dealer.send(encode(Ping(1)))).start()
    begun = time.monotonic()
    engine.poll(60)
    assert time.monotonic() - begun < 20


class Log:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.errors = 0

    def engine_up(self, welcome: Welcome) -> None:
        self.events.append(("up", welcome.epoch))

    def engine_down(self, reason: str) -> None:
        self.events.append("down")

    def received(self, message: Message) -> None:
        if not isinstance(message, Pong):
            self.events.append(message)

    def dropped(self) -> None:
        self.errors += 1


async def turn(engine: EngineChannel, condition: Callable[[], object]) -> list[Received]:
    """Let both ends run in one loop until something holds."""
    found: list[Received] = []
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        found += engine.poll(0)
        await asyncio.sleep(0.002)
    return found


async def started(address: str, **more: Any) -> tuple[ServerChannel, Log, asyncio.Task[None]]:
    log = Log()
    channel = ServerChannel(address, log, build="b", server="s", **{"ping_seconds": 0.05, **more})
    return channel, log, asyncio.create_task(channel.run())


def test_server_end_to_end(address: str) -> None:
    async def run() -> None:
        channel, log, task = await started(address)
        await asyncio.sleep(0.1)
        assert not channel.send(GENERATE)  # nobody there: refused, not queued
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        assert channel.connected
        assert channel.send(GENERATE)
        received: list[Received] = []
        while not received:
            received += await turn(engine, lambda: True) or engine.poll(0.01)
        for n in range(600):  # more than one burst
            engine.send(received[0].peer, Stats(7, n))
        await turn(engine, lambda: log.events[-1] == Stats(7, 599))
        assert log.events[1:] == [Stats(7, n) for n in range(600)]
        engine.close()
        closed = time.monotonic()
        while log.events[-1] != "down":
            await asyncio.sleep(0.001)
            assert time.monotonic() - closed < 1.5  # by its end: that nobody answers any more shows after two seconds
        second = bind(address, epoch=8)
        await turn(second, lambda: log.events[-1] == ("up", 8))
        assert log.errors == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        second.close()
        assert log.events[-1] == "down"

    asyncio.run(run())


def test_a_silent_engine_is_lost(address: str) -> None:
    async def run() -> None:
        _, log, task = await started(address, silence_seconds=0.3)
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        for _ in range(2000):  # the engine's loop does not answer
            if len(log.events) > 1:
                break
            await asyncio.sleep(0.01)
        assert log.events[1] == "down"
        await turn(engine, lambda: log.events[-1] == ("up", 7))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


def test_a_server_that_was_given_up_is_told_and_greets_again(address: str) -> None:
    """It may have been too slow for a while; its requests since then must not wait for ever."""

    async def run() -> None:
        channel, log, task = await started(address)
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        engine._lose(*engine.peers)
        for _ in range(3 * TOLERATED):
            channel.send(GENERATE)
        await turn(engine, lambda: log.events == [("up", 7), "down", ("up", 7)])
        assert channel.send(GENERATE)
        received: list[Received] = []
        while not received:
            received += engine.poll(0.01)
        assert received[-1].message == GENERATE
        engine._lose(*engine.peers)
        await turn(engine, lambda: log.events[3:] == ["down", ("up", 7)])  # without a request, by the next ping
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


def test_bad_frames_from_the_engine_are_dropped(address: str) -> None:
    async def run() -> None:
        _, log, task = await started(address)
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        (peer,) = engine.peers
        for frames in ([b"x"], [V, b"delta", b"\xc1"], encode(Ping(1)), [V, b"delta", pickle.dumps(1)]):
            engine._socket.send_multipart([peer, *frames])
        engine.send(peer, Drain())
        await turn(engine, lambda: log.events[-1] == Drain())
        assert log.errors == 4
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


def test_t3_t37_the_place_is_private(address: str, engine: EngineChannel) -> None:
    directory = Path(address.removeprefix("ipc://")).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert private_address() != private_address()


def test_f25_two_engines_on_one_path(address: str, engine: EngineChannel, dealer: Dealer) -> None:
    with pytest.raises(UserError, match=str(os.getpid())):
        bind(address)
    dealer.send(encode(Hello(VERSION, "b", "s")))
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


class Slow(Log):
    """Takes longer over a message than a burst may last: each burst is one message."""

    def received(self, message: Message) -> None:
        super().received(message)
        time.sleep(0.006)


def test_what_was_sent_does_not_multiply_what_is_read_in_a_round(address: str) -> None:
    """Each message sent has the socket looked at; while frames pile up that is still one burst for all of them."""

    async def run() -> int:
        log = Slow()
        channel = ServerChannel(address, log, build="b", server="s", ping_seconds=5.0)
        task = asyncio.create_task(channel.run())
        engine = bind(address)
        received = await turn(engine, lambda: log.events == [("up", 7)])
        channel.send(GENERATE)
        while not received:
            received += engine.poll(0.01)
            await asyncio.sleep(0)
        for n in range(100):
            engine.send(received[0].peer, Stats(7, n))
        for n in range(50):
            channel.send(Abort([str(n)]))
        most, before = 0, len(log.events)
        while log.events[-1] != Stats(7, 99):
            await asyncio.sleep(0)
            most, before = max(most, len(log.events) - before), len(log.events)
        engine.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return most

    assert asyncio.run(asyncio.wait_for(run(), 20)) <= 2
