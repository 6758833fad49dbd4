"""Single connections: headers without end, requests that dawdle, clients that do not read. T9, F11, F12."""

from __future__ import annotations

import gc
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import httpx
import pytest

from rustinfer.server import connection, pulse
from rustinfer.server.connection import Connection

from .conftest import MODEL, LiveServer, wait_for
from .fake_engine import TEXT, FakeEngine
from .lifecycle import answer, asking, connect, posted

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def raw(server: LiveServer) -> Iterator[socket.socket]:
    with closing(connect(server)) as made:
        yield made


def until_closed(link: socket.socket) -> bytes:
    got = b""
    try:
        while part := link.recv(1 << 16):
            got += part
    except ConnectionResetError:
        pass
    return got


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    "headers",
    [b"A: " + b"x" * 40_000 + b"\r\n\r\n", b"".join(b"H%d: x\r\n" % i for i in range(200)), b"A" * 40_000],
    ids=["long", "many", "endless"],
)
def test_t9_headers_are_bounded(raw: socket.socket, headers: bytes) -> None:
    raw.sendall(GET + headers)
    assert error_of(until_closed(raw)) == (431, "headers_too_large")


@pytest.mark.parametrize("pieces", [1, 2])
def test_t9_the_path_is_bounded(raw: socket.socket, pieces: int) -> None:
    line = b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for piece in [line] if pieces == 1 else [line[:20_000], line[20_000:]]:
        raw.sendall(piece)
        time.sleep(0.05)
    answer = until_closed(raw)
    assert error_of(answer) == (431, "headers_too_large")
    assert re.search(rb"x-request-id: [0-9a-f]{32}\r\n", answer)


def test_headers_of_a_usual_size_pass(raw: socket.socket) -> None:
    raw.sendall(GET + b"A: " + b"x" * 20_000 + b"\r\nConnection: close\r\n\r\n")
    assert b" 200 OK" in until_closed(raw)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01 hello", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"\0" * 99])
def test_what_is_no_http_gets_an_error_of_the_usual_shape(raw: socket.socket, junk: bytes) -> None:
    raw.sendall(junk)
    assert error_of(until_closed(raw)) == (400, "invalid_http")


@pytest.mark.parametrize("sent", [b"", GET, GET + b"Content-Length: 10\r\n\r\n{"], ids=["nothing", "header", "body"])
def test_f12_who_dawdles_is_cut_off(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, sent: bytes, http: httpx.Client
) -> None:
    monkeypatch.setattr(Connection, "header_seconds", 0.3)
    monkeypatch.setattr(Connection, "message_seconds", 0.3)
    started = time.monotonic()
    with closing(connect(server)) as slow:
        slow.sendall(sent)
        with suppress(ConnectionError):  # it may be cut off by then, where somebody else has the processor
            for _ in range(3):
                time.sleep(0.05)
                slow.sendall(b"X" if sent.endswith(b"{") else b"")
        until_closed(slow)
    assert 0.2 < time.monotonic() - started < connection.HEADER_SECONDS  # it is a third of a second
    assert http.get("/health").status_code == 200


def test_a_connection_between_requests_is_not_cut_off(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float | None] = []
    expect = Connection._expect
    monkeypatch.setattr(Connection, "_expect", lambda self, seconds: deadlines.append(seconds) or expect(self, seconds))
    with closing(connect(server)) as idle:
        for _ in range(2):
            idle.sendall(GET + b"\r\n")
            assert answer(idle)[0] == 200
            assert deadlines[-1] is None
    assert connection.HEADER_SECONDS in deadlines  # there was one before the first


def test_f12_a_thousand_open_sockets_stop_nobody(server: LiveServer, http: httpx.Client) -> None:
    waiting = [connect(server) for _ in range(1000)]
    for link in waiting[::2]:
        link.send(b"POST /v1/completions HTTP/1.1\r\nHost: ")
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": "a", "max_tokens": 5, "temperature": 0})
    assert answer.json()["choices"][0]["text"] == TEXT[:5]
    for link in waiting:
        link.close()


def test_f11_a_client_that_does_not_read_is_given_up(
    server: LiveServer, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(pulse, "TICK_SECONDS", 0.1)
    body = {"model": MODEL, "prompt": "a", "max_tokens": 500, "n": 100, "stream": True, "logprobs": 20}
    engine.delay = 0.001
    with asking(server, "/v1/completions", body):
        wait_for(lambda: engine.requests)
        wait_for(lambda: not server.link._jobs)
        wait_for(lambda: not engine.running)


def test_limits_are_what_the_documents_say() -> None:
    assert (connection.HEADER_BYTES, connection.HEADER_COUNT) == (32 << 10, 100)


def test_t12_nothing_is_left_of_connections_that_were_reset(server: LiveServer) -> None:
    """Their keep-alive timers would hold them for more than a minute."""

    def held() -> int:
        gc.collect()
        return sum(isinstance(each, Connection) for each in gc.get_objects())

    before = held()
    for _ in range(20):
        link = connect(server)
        link.sendall(GET + b"\r\n")
        assert b"200 OK" in link.recv(1 << 16)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
    wait_for(lambda: held() <= before)


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_request_that_would_rather_speak_http2_keeps_its_body(raw: socket.socket, pieces: int) -> None:
    asked = {"model": MODEL, "prompt": "a", "max_tokens": 5, "temperature": 0}
    head, body = posted("/v1/completions", asked, H2C)
    for _ in range(2):  # on one connection
        for piece in [head + body] if pieces == 1 else [head, body]:
            raw.sendall(piece)
            time.sleep(0.1)  # so that they arrive apart
        status, got = answer(raw)
        assert (status, json.loads(got)["choices"][0]["text"]) == (200, TEXT[:5])


def test_a_request_for_a_websocket_gets_a_plain_answer(raw: socket.socket) -> None:
    raw.sendall(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert answer(raw)[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_http_1_0_has_no_chunks_and_ends_with_the_connection(raw: socket.socket, stream: bool) -> None:
    asked = {"model": MODEL, "prompt": "a", "max_tokens": 5, "temperature": 0, "stream": stream}
    body = json.dumps(asked).encode()
    head = b"POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    raw.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    told, _, content = until_closed(raw).partition(b"\r\n\r\n")
    assert told.split()[1] == b"200"
    assert b"transfer-encoding" not in told.lower()
    assert (b"content-length: %d" % len(content) in told.lower()) == (not stream)
    if stream:
        assert content.startswith(b"data: {")
        assert content.endswith(b"}\n\ndata: [DONE]\n\n")
    else:
        assert json.loads(content)["choices"][0]["text"] == TEXT[:5]


@pytest.mark.parametrize("wrong", [b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"Transfer-Encoding: identity\r\n\r\n"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_body_that_cannot_be_parsed_is_answered(raw: socket.socket, wrong: bytes, pieces: int) -> None:
    head, end, rest = wrong.partition(b"\r\n\r\n")
    start = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head + end
    for piece in [start + rest] if pieces == 1 or not rest else [start, rest]:
        raw.sendall(piece)
        time.sleep(0.1)
    assert error_of(until_closed(raw)) == (400, "invalid_http")
