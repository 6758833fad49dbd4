"""What tests of the server's life have in common: a long request, the events of a stream, the server as a process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from typing import Any

import httpx

from .conftest import MODEL, LiveServer
from .fake_engine import FakeEngine

LONG = {"model": MODEL, "prompt": "a", "max_tokens": 500, "temperature": 0}


def events(text: str) -> list[Any]:
    return [e.removeprefix("data: ") for e in text.split("\n\n") if e]


def connect(server: LiveServer | Process) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    made.settimeout(60)
    return made


def posted(path: str, body: Any, more: bytes = b"") -> tuple[bytes, bytes]:
    """Head, with more headers, and body of a request, as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    return head + more + b"Content-Length: %d\r\n\r\n" % len(content), content


def answer(link: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection that may go on."""
    response = HTTPResponse(link)
    response.begin()
    return response.status, response.read()


@contextmanager
def asking(server: LiveServer, path: str, body: Any) -> Iterator[None]:
    """A client that has asked, and hangs up when this is left: what is to have happened by then is to be waited for."""
    with closing(connect(server)) as link:
        link.sendall(b"".join(posted(path, body)))
        yield


def failing(http: httpx.Client, engine: FakeEngine, path: str, body: Any) -> str:
    """The text of a stream whose engine fails once the client has heard of it: before, the status would say so."""
    engine.hold = engine.fail_after = 3
    with http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        parts = response.iter_text()
        text = next(parts)
        engine.hold = None
        return text + "".join(parts)


class Process:
    """`rustinfer-server` as a process of its own."""

    url = ""

    def __init__(self, address: str, *more: str, run: str | None = None) -> None:
        start = ["-m", "rustinfer.server.main"] if run is None else ["-c", run]
        command = [sys.executable, *start, "--engine", address, "--port", "0", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: http://127.0.0.1:")
        self.url = line.split()[1]
        return self.url
