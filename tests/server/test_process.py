"""The server as a process: how it starts and how it ends; rows L5 and L6 of the behaviours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing

import httpx
import pytest

from .conftest import live, wait_for
from .fake_engine import FakeEngine
from .lifecycle import LONG, Process, answer, connect, posted


def test_ready_and_sigterm_drains(own_address: str) -> None:
    """L5: what runs finishes, the exit code is 0, and Ready comes only after the engine."""
    server = Process(own_address)
    with FakeEngine(own_address, hold=10) as engine:
        url = server.ready()
        with httpx.stream(
            "POST", f"{url}/v1/completions", json={**LONG, "max_tokens": 50, "stream": True}, timeout=60
        ) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            wait_for(lambda: not open_(url))
            engine.hold = None
            assert "[DONE]" in list(lines)[-2]
        assert server.process.wait(60) == 0


PATIENT = """
from rustinfer.server import connection, main
connection.ASKED_SECONDS = 600
main.main()
"""


def test_f3_whoever_was_let_in_before_is_answered(own_address: str) -> None:
    server = Process(own_address, run=PATIENT)
    with FakeEngine(own_address):
        server.ready()
        with closing(connect(server)) as late, closing(connect(server)) as idle:
            idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer(idle)[0] == 200  # and the other was let in before it
            server.process.terminate()
            assert idle.recv(1) == b""  # those who were answered are dropped
            late.sendall(b"".join(posted("/v1/completions", {**LONG, "max_tokens": 5})))
            assert answer(late)[0] == 200
            assert late.recv(1) == b""
        assert server.process.wait(60) == 0


def open_(url: str) -> bool:
    """Whether a new client is let in."""
    try:
        httpx.get(f"{url}/health", timeout=60)
    except (httpx.NetworkError, httpx.RemoteProtocolError):  # refused, or dropped while it stood in the queue
        return False
    return True


def test_l6_sigterm_without_drain(own_address: str) -> None:
    server = Process(own_address, "--shutdown-timeout", "0")
    with FakeEngine(own_address, hold=5) as engine:
        url = server.ready()
        with httpx.stream("POST", f"{url}/v1/completions", json={**LONG, "stream": True}, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            rest = [line for line in lines if line]
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert rest[-1] == "data: [DONE]"
        assert server.process.wait(60) == 0
        wait_for(lambda: not engine.running)


@pytest.mark.parametrize(
    ("flags", "warned"), [((), False), (("--host=0.0.0.0",), True), (("--host=0.0.0.0", "--api-key=k"), False)]
)
def test_who_opens_the_server_without_a_key_is_told(own_address: str, flags: tuple[str, ...], warned: bool) -> None:
    server = Process(own_address, *flags)
    with FakeEngine(own_address):
        assert server.process.stdout is not None
        assert server.process.stdout.readline().startswith("Ready: ")
        server.process.terminate()
        _, err = server.process.communicate(timeout=60)
    assert ("anybody who reaches it may use it" in err) == warned


def test_users_mistakes_end_in_one_line(own_address: str) -> None:
    with live(own_address) as taken:
        port = taken.url.rpartition(":")[2]
        for more, word in (
            [["--port", port], "in use"],
            [["--engine", "tcp://1.2.3.4:5"], "--wire-key-file"],
            [["--host", "::nope"], "nope"],  # no resolver need be asked
        ):
            server = Process(own_address, *more)
            out, err = server.process.communicate(timeout=60)
            assert server.process.returncode == 2
            assert out == ""
            assert word in err
            assert err.count("\n") == 1


def test_the_server_never_imports_torch() -> None:
    code = "import sys, rustinfer.server.main; print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert out.stdout.strip() == "[]"
