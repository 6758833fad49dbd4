"""What tests of the server's life have in common: a long request, the events of a stream, the server as a process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from .conftest import MODEL, LiveServer

LONG = {"model": MODEL, "prompt": "a", "max_tokens": 500, "temperature": 0}


def events(text: str) -> list[Any]:
    return [e.removeprefix("data: ") for e in text.split("\n\n") if e]


def connect(server: LiveServer) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    made.settimeout(60)
    return made


def posted(path: str, body: Any) -> tuple[bytes, bytes]:
    """Head and body of a request, as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode(), content


@contextmanager
def asking(server: LiveServer, path: str, body: Any) -> Iterator[None]:
    """A client that has asked, and hangs up when this is left: what is to have happened by then is to be waited for."""
    with closing(connect(server)) as link:
        link.sendall(b"".join(posted(path, body)))
        yield


class Process:
    """`rustinfer-server` as a process of its own."""

    def __init__(self, address: str, *more: str) -> None:
        command = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, "--port", "0", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: http://127.0.0.1:")
        return line.split()[1]
