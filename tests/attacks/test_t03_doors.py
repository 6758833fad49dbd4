"""Doors: what listens, who may enter, what is told to those who may not. T2, T3, T6, T7, T36, T37, T40, T41."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import socket
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import zmq

from rustinfer.server.auth import PUBLIC
from rustinfer.server.routes import ROUTES
from tests.conftest import Saw, free_port
from tests.faults.conftest import World
from tests.faults.world import GOLDEN, PATIENCE, Process, Server, wait_for

from .conftest import KEY


class Bomb:
    """Whoever unpickles it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_t2_pickles_on_every_socket(world: World, saw: Saw, tmp_path: Path) -> None:
    """A pickle that writes a file, sent to every socket of both processes."""
    evil = pickle.dumps(Bomb(tmp_path / "made"))
    errors = world.server.metrics()["engine_protocol_errors"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as made:
        made.linger = 0
        made.connect(world.engine.address)
        made.send_multipart([evil] * 3)
        with socket.create_connection(("127.0.0.1", world.server.port)) as link:
            link.sendall(evil)
            link.recv(1000)
        wait_for(lambda: world.server.metrics()["engine_protocol_errors"] > errors)
    assert not (tmp_path / "made").exists()
    saw("no file; counted as protocol error", None)


def listening(pid: int) -> set[str]:
    """Addresses of TCP sockets on which a process listens, in hex as the kernel writes them."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    own = {link[8:-1] for link in links if link.startswith("socket:")}
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[1] for line in lines if line[3] == "0A" and line[9] in own}


def test_t3_t37_what_listens(world: World, saw: Saw) -> None:
    """A look at every listening socket of both processes."""
    assert listening(world.engine.pid) == set()
    assert listening(world.server.pid) == {f"0100007F:{world.server.port:04X}"}
    path = Path(world.engine.address.removeprefix("ipc://"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    saw("one: the HTTP port on loopback. The engine's is a file of mode 0600 in a directory of mode 0700", None)


def test_t3_tcp_takes_a_key(world: World, model: Path, saw: Saw, tmp_path: Path) -> None:
    """Engine and server by TCP, without a key and with one, and strangers at its port."""
    address = f"tcp://127.0.0.1:{free_port()}"
    words = (
        ("rustinfer.engine.main", str(model), f"--endpoint={address}"),
        ("rustinfer.server.main", "--engine", address),
    )
    for command in words:
        refused = Process(tmp_path / "refused", "-m", *command)
        assert refused.popen.wait(PATIENCE) == 2
        assert "name a key with --wire-key-file" in refused.log.read_text()
    key = f"--wire-key-file={tmp_path / 'key'}"
    engine = Process(tmp_path / "engine.log", "-m", *words[0], key, "--threads=1", "--served-model-name=tiny")
    server = None
    try:
        wait_for(lambda: engine.said("ready in"), "a ready engine")
        links = [socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) for _ in range(30)]
        for link in links[10:]:
            link.sendall(b"\xff" + bytes(8) + b"\x7f" + bytes(900))
        server = Server(tmp_path, address, key).wait_ready()
        assert server.golden() == world.golden
        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            stranger.linger = 0
            stranger.connect(address)
            stranger.send_multipart([b"x"] * 3)
            assert not stranger.poll(500)
        assert server.metrics()["engine_protocol_errors"] == 0
        assert server.golden() == world.golden
    finally:
        for process in (server, engine):
            if process is not None:
                process.kill()
    saw("without: one line, exit code 2; with one: the known answer; strangers: not one frame was read", None)


HOSTS = ("localhost", "localhost/health?", "a/v1/models?", "127.0.0.1:80/?x=")
ODD = (
    "//v1/models",
    "/V1/models",
    "/v1/%2e%2e/metrics",
    "/health/",
    "/health;x",
    "/health%2f..%2fmetrics",
    "/%00",
    "/v1",
)


@pytest.mark.timeout(900)
def test_t6_t7_every_route_needs_a_key(world: World, locked: Server, saw: Saw) -> None:
    """Every discovered route, and odd spellings of them, with every method, without a key or with a wrong one."""
    paths = {re.sub(r"\{[^}]*\}", "x", route.path) for route in ROUTES} | set(ODD)
    tried = 0
    with httpx.Client(base_url=locked.url, timeout=60) as http:
        for path, method, host in itertools.product(sorted(paths), ("GET", "POST", "DELETE", "HEAD", "OPTIONS"), HOSTS):
            if path in PUBLIC:
                continue
            for headers in ({}, {"authorization": "Bearer nope"}):
                answer = http.request(method, path, headers={**headers, "host": host})
                assert answer.status_code in (401, 421), (method, path, host)
                tried += 1
        assert http.get("/v1/models", headers={"x-api-key": KEY}).status_code == 200
    saw(f"401 (or 421 for the host name) {tried} times", None)


def test_t6_absolute_form(world: World, locked: Server, saw: Saw) -> None:
    """Request targets in absolute form, pointing at /health and elsewhere."""
    for target in ("http://x/health/../v1/models", "http://localhost/v1/models", "http://localhost/health@/v1/models"):
        with socket.create_connection(("127.0.0.1", locked.port)) as link:
            link.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b" 401 " in link.recv(100)
    saw("401", None)


MISTAKES = [
    ("/v1/completions", b"{"),
    ("/v1/completions", b'{"model": "/etc/passwd", "prompt": "a"}'),
    ("/v1/completions", b'{"model": "tiny", "prompt": [99999999]}'),
    ("/v1/completions", b'{"model": "tiny", "prompt": "\\u0001"}'),
    ("/v1/chat/completions", b'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}'),
    ("/v1/../../etc/passwd", b"{}"),
]


def test_t36_errors_tell_nothing_of_the_inside(world: World, saw: Saw) -> None:
    """Requests that go wrong in the parser, the checks, the template and the engine."""
    address = world.engine.address.removeprefix("ipc://")
    secrets = [
        address,
        str(world.folder),
        str(world.engine.pid),
        "Traceback",
        ".py",
        "0x",
        "site-packages",
        "/rustinfer",
    ]
    headers = {"content-type": "application/json"}
    for path, content in MISTAKES:
        answer = httpx.post(f"{world.server.url}{path}", content=content, headers=headers, timeout=60)
        assert answer.status_code >= 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert not [word for word in secrets if word in answer.text], answer.text
    saw("messages without a path, a process number, an address or a traceback", None)


def test_t40_rebinding(world: World, saw: Saw) -> None:
    """A page elsewhere whose host name points to 127.0.0.1, and one that reads across origins."""
    started = time.monotonic()
    answer = httpx.post(f"{world.server.url}/v1/completions", json=GOLDEN, headers={"host": "evil.example"}, timeout=60)
    assert answer.status_code == 421
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    allowed = httpx.options(f"{world.server.url}/v1/completions", headers=preflight, timeout=60).headers
    assert "access-control-allow-origin" not in allowed
    saw("421; no Access-Control-Allow-Origin", time.monotonic() - started)


def test_t41_logs(world: World, locked: Server, saw: Saw) -> None:
    """Line breaks and terminal codes as request id, model, path and key, where they might reach the log."""
    evil = 'x\r\n{"level":"forged"}\x1b[2J'
    before = locked.log.read_text().count("rustinfer.requests")
    good, plain = {"x-api-key": KEY}, {"model": "tiny", "prompt": "a", "max_tokens": 1}
    shown = evil.replace("\r\n", "\t").replace("\x1b", "")
    for path, body, headers in (
        ("", plain, {**good, "x-request-id": shown}),
        ("", {"model": evil, "prompt": evil}, good),
        ("/%0d%0a%1b[2J", plain, good),
        ("", plain, {"x-api-key": "secret-word"}),
    ):
        httpx.post(f"{locked.url}/v1/completions{path}", json=body, headers=headers, timeout=60)

    def entries() -> list[dict[str, Any]]:
        lines = locked.log.read_text().splitlines()
        return [json.loads(line) for line in lines if not line.startswith("Ready: ")]

    wait_for(lambda: len([entry for entry in entries() if entry["logger"] == "rustinfer.requests"]) >= before + 4)
    assert "forged" not in [entry["level"] for entry in entries()]
    for word in ("\x1b", "secret-word", KEY):
        assert word not in locked.log.read_text()
    saw("the log: one JSON object for each request, a line each, no control character, no key", None)
