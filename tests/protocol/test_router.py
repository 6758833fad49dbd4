"""The engine's end: greeting, requests, losses, strangers, and frames that are none."""

from __future__ import annotations

import pickle
import random
import threading
import time
from pathlib import Path

from rustinfer.protocol.bans import TOLERATED, Bans
from rustinfer.protocol.codec import encode
from rustinfer.protocol.messages import (
    VERSION,
    Abort,
    Delta,
    Drain,
    Hello,
    Output,
    Ping,
    Pong,
    Welcome,
)
from rustinfer.protocol.router import NOBODYS, EngineChannel, Gone, Received

from .ends import GENERATE, Dealer, bind, collect
from .test_codec import CARD, Bomb, V


def test_greeting_and_request(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
    (received,) = collect(engine, lambda found: len(found) == 1)
    assert received.message == GENERATE
    assert dealer.socket.recv_multipart() == encode(Welcome(VERSION, "b", 7, "f", CARD))
    assert engine.send(received.peer, Delta(7, []))
    assert dealer.socket.recv_multipart()[1] in (b"delta", b"pong")


def test_requests_before_hello_are_dropped(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(GENERATE)
    dealer.send(Abort(["r"]))
    dealer.send(Ping(3))
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
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
    (received,) = collect(engine, bool)
    assert received.message == GENERATE
    assert engine.errors == len(noise)
    assert not (tmp_path / "made").exists()


def test_f14_who_goes_on_is_not_heard_any_more(address: str, engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
    (received,) = collect(engine, bool)
    for _ in range(TOLERATED):
        dealer.send([b"noise"])
    assert collect(engine, bool) == [Received(received.peer, Gone())]
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
    assert collect(engine, lambda _: engine.errors == TOLERATED + 2) == []
    assert engine.peers == []
    other = Dealer(address)
    other.send(Hello(VERSION, "b", "s"))
    other.send(GENERATE)
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
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
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
    dealer.send(Hello(VERSION, "b", "s"))
    collect(engine, lambda _: bool(engine.peers))
    now = 9.0
    assert engine.poll() == []
    assert engine.peers
    now = 10.1
    assert [r.message for r in engine.poll()] == [Gone()]
    dealer.close()
    engine.close()


def test_f15_a_server_that_never_reads_is_given_up(engine: EngineChannel, dealer: Dealer) -> None:
    dealer.send(Hello(VERSION, "b", "s"))
    dealer.send(GENERATE)
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
    threading.Timer(0.1, lambda: dealer.send(Ping(1))).start()
    begun = time.monotonic()
    engine.poll(60)
    assert time.monotonic() - begun < 20
