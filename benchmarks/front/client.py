"""A client that costs little: requests written beforehand, answers counted and not understood."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

END = b"data: [DONE]\n\n"
EVENT = b"data: {"


def request(path: str, body: dict[str, Any] | bytes) -> bytes:
    """The bytes of a POST."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content


def probe(path: str = "/health") -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def blocking(port: int, raw: bytes) -> int:
    """Send one request and read its status, without an event loop."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(raw)
        return int(link.recv(1 << 16)[9:12])


@dataclass
class Load:
    """Answers that came, their seconds each, events seen, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    events: int = 0
    errors: list[str] = field(default_factory=list)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes, load: Load) -> int:
    """Send one request on an open connection and read its answer; the status."""
    started = time.perf_counter()
    writer.write(raw)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    if b"chunked" in head:
        await _stream(reader, load)
    else:
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
    load.seconds.append(time.perf_counter() - started)
    return status


async def _stream(reader: asyncio.StreamReader, load: Load) -> None:
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        part = await reader.read(1 << 16)
        if not part:
            raise ConnectionError("the stream broke off")
        load.events += part.count(EVENT)
        tail = (tail + part)[-64:]
    if END not in tail:
        raise ConnectionError("the stream ended without [DONE]")


async def repeat(port: int, raw: bytes, until: float, load: Load) -> None:
    """One connection that asks again and again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        if (status := await ask(reader, writer, raw, load)) != 200:
            load.errors.append(str(status))
    writer.close()


async def once(port: int, raw: bytes, load: Load) -> int:
    """One request on a connection of its own; the status, or 0 with the reason in `load`."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        status = await ask(reader, writer, raw, load)
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        load.errors.append(repr(error))
        return 0
    if status != 200:
        load.errors.append(str(status))
    return status
