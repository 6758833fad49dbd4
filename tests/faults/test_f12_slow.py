"""Clients that are slow, say nothing, or are more than there are descriptors: F12."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import httpx
import pytest

from tests.conftest import Saw

from .conftest import World
from .streams import streams
from .test_f05_clients import HEAD, connect
from .world import GOLDEN, Server, cpu_seconds, wait_for


def test_f12_slow_header_and_body(world: World, saw: Saw) -> None:
    """Header and body that stop half-way, 100 each, beside a normal request."""
    links = [connect(world.server) for _ in range(200)]
    for number, link in enumerate(links):
        head = HEAD.format(100).encode()
        link.sendall(head + b'{"model' if number % 2 else head[:40])
    started = time.monotonic()
    assert world.server.golden() == world.golden
    saw("the normal request was answered; the others are cut off after 10 and 30 s", time.monotonic() - started)
    for link in links:
        link.close()


def test_f12_a_thousand_that_say_nothing(world: World, saw: Saw) -> None:
    """1000 connections on which nothing is said, or half a header, beside a normal request."""
    links = [connect(world.server) for _ in range(1000)]
    for link in links[::2]:
        link.sendall(HEAD.encode()[:30])
    started = time.monotonic()
    assert world.server.golden() == world.golden
    saw("the normal request was answered", time.monotonic() - started)
    for link in links:
        link.close()


def test_f12_more_connections_than_descriptors(world: World, saw: Saw) -> None:
    """300 connections to a server that may hold 128 descriptors, of which the first are streams."""
    limited = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (128, 128)); "
    server = Server(world.folder, world.engine.address, run=limited + "from rustinfer.server.main import main; main()")
    links: list[socket.socket] = []

    def crowd() -> None:
        for _ in range(300):
            link = socket.socket()
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", server.port))
            links.append(link)

    try:
        server.wait_ready()
        ended, began = streams(server.url, [{**GOLDEN, "max_tokens": 1200}] * 4, crowd)
        assert all(each.done and each.error is None for each in ended)
        cpu, began = cpu_seconds(server.pid), time.monotonic()
        time.sleep(1)
        busy = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - began)
        for link in links:
            link.close()
        back = wait_for(lambda: answers(server), "an answer")
        assert server.golden() == world.golden
        saw(f"the streams were complete, {busy:.0%} of a core used; then the known answer", back)
    finally:
        server.kill()


def answers(server: Server) -> bool:
    try:
        return server.post(GOLDEN).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_f12_the_slow_are_cut_off(world: World, saw: Saw) -> None:
    """Header, body and nothing at all, a byte a second."""
    seen = {}
    for name, start, more in (("nothing", b"", b""), ("header", b"GET / HTTP/1.1\r\nA: ", b"x"), ("body", b"", b" ")):
        with closing(connect(world.server)) as link:
            link.sendall(HEAD.format(10_000).encode() if name == "body" else start)
            link.setblocking(False)
            began = time.monotonic()
            while True:
                time.sleep(1)
                try:
                    link.send(more) if more else None
                    if (got := link.recv(4096)) == b"" or b" 408 " in got:
                        break
                except BlockingIOError:
                    pass
                except OSError:
                    break
                assert time.monotonic() - began < 100
            seen[name] = time.monotonic() - began
    assert seen["nothing"] < 25  # ten, ten and thirty seconds where nobody else works
    assert seen["header"] < 25
    assert seen["body"] < 90
    saw(", ".join(f"{name}: cut off after {seconds:.0f} s" for name, seconds in seen.items()), None)
