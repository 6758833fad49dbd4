"""What the HTTP front alone costs, over an engine without a model: `python -m benchmarks.front [--out FILE]`.

CPU is the server process's own (user and system), so it means the same on a busy machine; rates need quiet cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rustinfer.cli.facts import save
from rustinfer.protocol.address import private_address, socket_path

from .client import Load, ask, blocking, once, probe, repeat, request
from .engine import MODEL

COMPLETION = {"model": MODEL, "prompt": "Hello there", "temperature": 0}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello there"}], "temperature": 0, "stream": True}
MANY_LOGPROBS = {**CHAT, "stream": False, "n": 64, "max_tokens": 200, "logprobs": True, "top_logprobs": 20}
BODY_MIB = 31
ROUNDS = 5
"""How often each of the largest bodies is sent: of one alone there are too few probes to speak of one in a hundred."""


class Front:
    """A running server and what it used."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self._pid = port, pid

    def cpu(self) -> float:
        """Seconds so far, of the server's own process."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def front(step_ms: float, *flags: str) -> Iterator[Front]:
    """A null engine and `rustinfer-server` before it, each a process."""
    address = private_address()
    engine = subprocess.Popen([sys.executable, "-m", "benchmarks.front.engine", address, str(step_ms)])
    command = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, "--port", "0", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield Front(int(server.stdout.readline().rpartition(":")[2]), server.pid)
    finally:
        for process in (server, engine):
            process.kill()
            process.wait()
        shutil.rmtree(socket_path(address).parent, ignore_errors=True)


def percentile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return round(sorted(values)[min(int(share * len(values)), len(values) - 1)] * 1e3, 2)


async def requests(seconds: float) -> dict[str, Any]:
    """Answers of one token, from 64 connections that ask without a pause."""
    with front(0) as server:
        raw = request("/v1/completions", {**COMPLETION, "max_tokens": 1})
        await repeat(server.port, raw, time.perf_counter() + 0.5, Load())
        load, cpu, began = Load(), server.cpu(), time.perf_counter()
        await asyncio.gather(*(repeat(server.port, raw, began + seconds, load) for _ in range(64)))
        wall, cpu = time.perf_counter() - began, server.cpu() - cpu
    done = len(load.seconds)
    return {
        "requests/s": round(done / wall),
        "server CPU, us/request": round(cpu / done * 1e6),
        "p50, ms": percentile(load.seconds, 0.5),
        "p99, ms": percentile(load.seconds, 0.99),
        "errors": len(load.errors),
    }


async def streams(count: int, tokens: int, step_ms: float) -> dict[str, Any]:
    """Streamed chats that run at the same time."""
    with front(step_ms) as server:
        await once(server.port, request("/v1/chat/completions", {**CHAT, "max_tokens": 3}), Load())
        load, cpu, began = Load(), server.cpu(), time.perf_counter()
        raw = request("/v1/chat/completions", {**CHAT, "max_tokens": tokens})
        await asyncio.gather(*(once(server.port, raw, load) for _ in range(count)))
        wall, cpu = time.perf_counter() - began, server.cpu() - cpu
    return {
        "tokens": count * tokens,
        "server CPU, us/token": round(cpu / (count * tokens) * 1e6, 1),
        "events per token": round(load.events / (count * tokens), 2),
        "seconds": round(wall, 2),
        "errors": len(load.errors),
        "first errors": load.errors[:3],
    }


async def largest() -> dict[str, Any]:
    """How long others wait while the largest legal bodies are understood, or answered: a GET every 5 ms meanwhile."""
    found: dict[str, Any] = {}
    words = b"All work and no play makes Jack a dull boy.\\n" * (BODY_MIB << 20 >> 5)
    text = words[: BODY_MIB << 20]
    head = json.dumps({"model": MODEL, "max_tokens": 1})[:-1].encode()
    ids = b",".join([b"97"] * (10 << 20))
    bodies = {
        "one message": (
            "/v1/chat/completions",
            head + b', "messages": [{"role": "user", "content": "' + text + b'"}]}',
        ),
        "token ids": ("/v1/completions", head + b', "prompt": [' + ids + b"]}"),
        "log-probabilities": ("/v1/chat/completions", json.dumps(MANY_LOGPROBS).encode()),
        "embeddings": ("/v1/embeddings", json.dumps({"model": MODEL, "input": ["a"] * 1000}).encode()),
        "nested": ("/v1/completions", head + b', "x": ' + b"[[]," * (6 << 20) + b"0" + b"]" * (6 << 20) + b"}"),
    }
    with front(0) as server:
        await once(server.port, request("/v1/completions", {**COMPLETION, "max_tokens": 1}), Load())
        for name, (path, body) in bodies.items():
            idle = await _probe(server.port, asyncio.create_task(asyncio.sleep(1)))
            raw = request(path, body)
            began = time.perf_counter()
            sending = asyncio.create_task(_again_and_again(server.port, raw))
            busy = await _probe(server.port, sending)
            found[name] = {
                "MiB": round(len(body) / 2**20, 1),
                "seconds": round((time.perf_counter() - began) / ROUNDS, 2),
                "status": sending.result(),
                "idle p99, ms": percentile(idle, 0.99),
                "p50, ms": percentile(busy, 0.5),
                "p99, ms": percentile(busy, 0.99),
                "max, ms": percentile(busy, 1.0),
            }
    return found


async def _again_and_again(port: int, raw: bytes) -> int:
    """The last answer's status. From a thread: sending so much must not hold up the probe itself."""
    return [await asyncio.to_thread(blocking, port, raw) for _ in range(ROUNDS)][-1]


async def _probe(port: int, task: asyncio.Task[Any]) -> list[float]:
    """Seconds that a small request took, again and again until the task is done."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    load = Load()
    while not task.done():
        await ask(reader, writer, probe(), load)
        await asyncio.sleep(0.005)
    writer.close()
    await task
    return load.seconds


async def measure(seconds: float, only: str) -> dict[str, Any]:
    """Everything, or one part."""
    parts = {
        "one-token requests": lambda: requests(seconds),
        "64 streams": lambda: streams(64, 400, 10),
        "2000 streams": lambda: streams(2000, 20, 100),
        "largest request": largest,
    }
    return {name: await part() for name, part in parts.items() if only in name}


def main() -> None:
    """Print one JSON object, and write it where --out says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the request load (default: 5)")
    parser.add_argument("--only", default="", metavar="WORD", help="the parts with this word in their name")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result there too")
    args = parser.parse_args()
    result = {
        "cores": os.cpu_count(),
        **asyncio.run(measure(args.seconds, args.only)),
    }
    print(json.dumps(result, indent=2))
    save(args.out, result)


if __name__ == "__main__":
    main()
