"""Clients that hang up, storm, crowd, dawdle or do not read: F5 to F11, F13, F27."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from tests.conftest import Saw

from .conftest import World
from .streams import streams
from .world import GOLDEN, LONG, LONGER, Server, wait_for

ROUNDS = 5
"""Each side of a comparison takes its turn so often, and its best counts: what others do on the machine only adds."""
ALONE = 300
LETTERS = {"allowed_token_ids": [98, 99], "temperature": 1}
"""Each token makes an event: none is half a character."""
HEAD = (
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)


def connect(server: Server) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", server.port))
    link.settimeout(60)
    return link


def connect_narrowly(server: Server) -> socket.socket:
    """A connection that holds kilobytes: by default the kernel keeps megabytes for a client that does not read."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    link.settimeout(60)
    link.connect(("127.0.0.1", server.port))
    return link


def send(link: socket.socket, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    link.sendall(HEAD.format(len(content)).encode() + content)


def reset(link: socket.socket) -> None:
    """Close with RST instead of FIN."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def idle(server: Server) -> bool:
    now = server.metrics()
    return not now["requests_active"]


def test_f5_reset_in_a_stream(slow_pair: Server, saw: Saw) -> None:
    """RST by the client of a stream after 0, 1 and 5 tokens."""
    for tokens in (0, 1, 5):
        body = {**LONGER, "prompt": f"{tokens} tokens before the client goes: sixteen and more are a page"}
        saw(f"after {tokens}: the request was aborted", _reset_after(slow_pair, tokens, body))
        again = slow_pair.post({**body, "n": 1, "max_tokens": 1}).json()["usage"]
        if tokens:  # what was computed may be shared
            assert again["prompt_tokens_details"]["cached_tokens"] == again["prompt_tokens"] // 16 * 16


@pytest.mark.parametrize(("streamed", "tokens"), [(True, 0), (True, 1), (True, 5), (False, 0)])
@pytest.mark.parametrize("hang_up", ["RST", "FIN"])
def test_f5_f6_pages_are_free_within_two_steps(
    slow_pair: Server, streamed: bool, tokens: int, hang_up: str, saw: Saw
) -> None:
    """A client goes while each of the engine's steps takes 0.2 s, so that they can be counted."""
    before = slow_pair.metrics()
    link = connect(slow_pair)
    send(link, {**LONG, **LETTERS, "prompt": f"{streamed} {tokens} {hang_up}", "stream": streamed})
    wait_for(lambda: not idle(slow_pair))
    got = b""
    while got.count(b"data: ") < tokens:
        got += link.recv(4096)
    reset(link) if hang_up == "RST" else link.close()
    wait_for(lambda: idle(slow_pair))
    aborted = 'sequences_total{reason="abort"}'  # told of with the steps until then, at most once a second
    wait_for(lambda: slow_pair.quiet() and slow_pair.metrics()[aborted] > before.get(aborted, 0))
    after = slow_pair.metrics()
    heard, steps = (int(after[name] - before[name]) for name in ("generation_tokens_total", "engine_steps_total"))
    # Heard of by the server before it knew that nobody listens: a machine that others use has it know late.
    assert tokens <= heard <= steps <= heard + 2
    saw(f"after {heard} tokens, {hang_up}: every page was free after {steps - heard} more steps", None)


def _reset_after(server: Server, tokens: int, body: dict[str, Any]) -> float:
    """Seconds until the request was gone."""
    before = server.metrics()['requests_total{outcome="aborted"}']
    link = connect(server)
    send(link, {**body, "stream": True})
    got = b""
    while got.count(b"data: ") < tokens:
        got += link.recv(4096)
    wait_for(lambda: not idle(server))
    reset(link)
    gone = wait_for(lambda: idle(server))
    wait_for(server.quiet)
    assert server.metrics()['requests_total{outcome="aborted"}'] == before + 1
    return gone


def test_f6_hang_up_of_a_whole_answer(slow_pair: Server, saw: Saw) -> None:
    """FIN by the client that waits for an answer that is not streamed."""
    with closing(connect(slow_pair)) as link:
        send(link, LONGER)
        wait_for(lambda: not idle(slow_pair))
    gone = wait_for(lambda: idle(slow_pair))
    saw("the request was aborted", gone)


def test_f7_f27_time_outs(slow_pair: Server, saw: Saw) -> None:
    """200 clients with time-outs of 0.5 s, each asking for 1500 tokens."""
    server, golden = slow_pair, slow_pair.golden()

    async def storm() -> list[Any]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=0.5, limits=limits) as http:
            return await asyncio.gather(
                *(http.post("/v1/completions", json=LONG) for _ in range(200)), return_exceptions=True
            )

    usual, then = [], []
    for _ in range(ROUNDS):
        usual.append(first_word(server))
        results = asyncio.run(storm())
        assert sum(isinstance(each, httpx.TimeoutException) for each in results) > 100
        wait_for(server.quiet)
        then.append(first_word(server))
        assert server.golden() == golden
    assert min(then) <= 2 * min(usual)
    saw(f"the next got the known answer, its first token {min(then) / min(usual):.1f} times as late as else", min(then))


def first_word(server: Server) -> float:
    """Seconds until a stream of a new connection has said something."""
    with closing(connect(server)) as link:
        started = time.monotonic()
        send(link, {**GOLDEN, "stream": True})
        got = b""
        while b"data: " not in got:
            got += link.recv(4096)
        return time.monotonic() - started


@pytest.fixture
def patient(world: World) -> Iterator[Server]:
    """A server before the shared engine that does not take it for lost, however long it or the machine stands."""
    run = "from rustinfer.protocol import connection; connection.SILENT_MS = 600_000; "
    run += "from rustinfer.server.main import main; main()"
    server = Server(world.folder, world.engine.address, run=run)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@contextmanager
def held(world: World, server: Server, requests: int) -> Iterator[None]:
    """The engine stands until so many requests are there: a fast one would have answered the first of them by then."""

    def release() -> None:
        try:
            wait_for(lambda: server.metrics()["requests_active"] >= requests, "all requests there")
        finally:
            world.engine.signal(signal.SIGCONT)

    world.engine.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(release)
        yield
        released.result()


def test_f8_more_than_the_cache_holds(world: World, patient: Server, saw: Saw) -> None:
    """56 streams of 600 tokens over a cache of 8192: four times as much as there is."""
    body = {**GOLDEN, "max_tokens": 600}
    wanted, _ = streams(world.server.url, [body])
    started = time.monotonic()
    bodies = [{**body, "prompt": "abc"}] * 28 + [{**body, "prompt": f"{n} abc"} for n in range(28)]
    with held(world, patient, len(bodies)):
        ended, _ = streams(patient.url, bodies)
    assert all(each.done and each.error is None for each in ended)
    assert {each.said for each in ended[:28]} == {wanted[0].said}
    wait_for(lambda: world.server.metrics()["preemptions"] > 0)
    saw("every stream complete, none failed; the known answer where it is known", time.monotonic() - started)


def test_f9_one_request_larger_than_the_cache(world: World, saw: Saw, model: Any, tmp_path: Any) -> None:
    """A prompt longer than the context, and more tokens than it leaves."""
    started = time.monotonic()
    for body in ({**GOLDEN, "prompt": "x" * 5000}, {**GOLDEN, "max_tokens": 5000}):
        for stream in (False, True):
            answer = world.server.post({**body, "stream": stream})
            assert answer.status_code == 400
            assert "2048" in answer.json()["error"]["message"]
    saw("400 with the numbers, streamed or not", (time.monotonic() - started) / 4)


async def answer(server: Server, content: bytes) -> tuple[bytes, float]:
    """A connection's whole answer and its time: httpx would be the bottleneck itself."""
    return await exchange(server, HEAD.format(len(content)).encode(), content)


async def exchange(server: Server, head: bytes, content: bytes = b"") -> tuple[bytes, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    started = time.monotonic()
    writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + content)
    got = await reader.read()
    writer.close()
    return got, time.monotonic() - started


@pytest.mark.timeout(900)
def test_f10_flood(patient: Server, saw: Saw) -> None:
    """10,000 requests of 16 choices by 8 connections while 70 such run or wait, where 1024 sequences may wait."""
    many = json.dumps({**GOLDEN, "max_tokens": 150, "n": 16, "temperature": 1}).encode()
    before = patient.usage().kilobytes
    filling: list[tuple[bytes, float]] = []
    usual: list[float] = []
    filled = Thread(target=lambda: filling.extend(asyncio.run(at_once(patient, many, 70))))
    filled.start()
    wait_for(lambda: patient.metrics()["requests_active"] > 60)
    found = asyncio.run(flood(patient, many, 10_000, 8, usual))
    filled.join()
    results = [*found, *filling]
    refused = [(got, seconds) for got, seconds in results if got.startswith(b"HTTP/1.1 503")]
    others = {got for got, _ in refused if not (b'"overloaded"' in got and b"etry-after: 1" in got.lower())}
    assert others == set()
    done = [got for got, _ in results if got.startswith(b"HTTP/1.1 200")]
    assert len(done) + len(refused) == 10_070
    assert sum(got.startswith(b"HTTP/1.1 200") for got, _ in filling) >= 64
    assert len(refused) > 1000
    assert (patient.usage().kilobytes - before) / 1024 < 150
    # Of those who had nobody beside them: eight at once wait for each other, and so does this process for itself.
    # The best tenth of them, beside the best of what takes a server nothing: the machine may be busy with others.
    # A server that is slow beside its engine may have had room for all of those who came alone.
    alone = [each for each in found[:ALONE] if each[0].startswith(b"HTTP/1.1 503")] or refused
    assert best([seconds for _, seconds in alone]) < max(0.01, 5 * best(usual))
    most = p99([seconds for got, seconds in found if got.startswith(b"HTTP/1.1 503")])
    saw(f"{len(done)} complete, {len(refused)} refused with 503 and Retry-After; 99 of 100 of them within", most)


def best(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]


async def at_once(server: Server, content: bytes, count: int) -> list[tuple[bytes, float]]:
    return await asyncio.gather(*(answer(server, content) for _ in range(count)))


async def flood(
    server: Server, content: bytes, count: int, connections: int, usual: list[float]
) -> list[tuple[bytes, float]]:
    """So many answers: each of the connections asks again when it was refused, or has waited for a while.

    The first `ALONE` are asked by one of them, one after another, each after a question that takes the server nothing,
    whose times become `usual`.
    """
    asked: list[asyncio.Task[tuple[bytes, float]]] = []

    async def one(until: int) -> None:
        while len(asked) < until:
            if until == ALONE:
                usual.append((await exchange(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"))[1])
            asked.append(asyncio.create_task(answer(server, content)))
            await asyncio.wait([asked[-1]], timeout=0.2)

    await one(ALONE)
    await asyncio.gather(*(one(count) for _ in range(connections)))
    return await asyncio.gather(*asked)


@pytest.mark.timeout(900)
def test_f11_slow_reader(slow_pair: Server, saw: Saw) -> None:
    """A stream whose client reads one byte a second, beside one that reads."""
    slow, fast = [], []
    for _ in range(ROUNDS):
        slow.append(p99(gaps_beside(slow_pair, 1, 1.0)))
        fast.append(p99(gaps_beside(slow_pair, 1 << 16, 0.0)))
    assert min(slow) < 2 * min(fast)  # the tenth more that it may be is told; a server that waits takes seconds
    more = min(slow) / min(fast) - 1
    saw(f"99 of 100 gaps of the other stream ({more:+.0%} to those beside a client that reads) within", min(slow))


def gaps_beside(server: Server, at_once: int, pause: float) -> list[float]:
    """Seconds between the tokens of a stream, beside four choices whose client takes so many bytes and pauses."""
    over = Event()

    def read(link: socket.socket) -> None:
        while not over.wait(pause):
            link.recv(at_once)

    with closing(connect_narrowly(server)) as beside, closing(connect(server)) as link:
        send(beside, {**LONG, "stream": True, "n": 16, "temperature": 1, "logprobs": 20})
        reader = Thread(target=read, args=[beside])
        reader.start()
        send(link, {**GOLDEN, **LETTERS, "max_tokens": 24, "stream": True})
        times, got = [], b""
        while b"[DONE]" not in got:
            got = got[-8:] + link.recv(1 << 16)
            times.append(time.monotonic())
        over.set()
        reader.join()
    wait_for(lambda: idle(server))
    return [b - a for a, b in itertools.pairwise(times)]


def p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


BODIES = {
    "33 MiB": b" " * (33 << 20),
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a million members": b"{" + b",".join(b'"k%d":0' % n for n in range(1_000_000)) + b"}",
    "1e400": b'{"model":"tiny","prompt":"a","temperature":1e400}',
    "100,000 digits": b'{"model":"tiny","prompt":"a","max_tokens":' + b"9" * 100_000 + b"}",
    "half a surrogate": b'{"model":"tiny","prompt":"\\ud800"}',
    "invalid UTF-8": b'{"model":"tiny","prompt":"\xff"}',
    "byte order mark": b'\xef\xbb\xbf{"model":"tiny","prompt":"a"}',
    "NaN": b'{"model":"tiny","prompt":"a","top_p":NaN}',
    "no object": b"[]",
    "nothing": b"",
}


def test_f13_bodies(world: World, saw: Saw) -> None:
    """A body that is none."""
    headers = {"content-type": "application/json"}
    for name, content in BODIES.items():
        started = time.monotonic()
        try:
            answer = httpx.post(f"{world.server.url}/v1/completions", content=content, headers=headers, timeout=60)
        except (httpx.WriteError, httpx.ReadError):
            assert name == "33 MiB"  # refused before all of it was sent
            continue
        assert answer.status_code == (413 if name == "33 MiB" else 400)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert len(answer.content) < 1000
        saw(f"{name}: {answer.status_code}", time.monotonic() - started)
