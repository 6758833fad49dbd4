"""Engines that die, stop and return, and several servers before one; faults F1 to F4 and F16."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ..faults.streams import Ended, gather, streams
from .conftest import live, wait_for
from .fake_engine import TEXT, FakeEngine
from .lifecycle import LONG


@contextmanager
def engine_process(address: str, delay: float = 0.01) -> Iterator[subprocess.Popen[bytes]]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-m", "tests.server.fake_engine", address, str(delay)], cwd=root)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_f1_f2_killed_engine(own_address: str) -> None:
    with live(own_address) as server, httpx.Client(base_url=server.url, timeout=10) as http:
        with engine_process(own_address) as process:
            server.wait_ready()
            ended, killed = streams(server.url, [LONG] * 32, lambda: process.send_signal(signal.SIGKILL))
        for each in ended:
            assert each.done
            assert each.error == "engine_unavailable"
            assert each.at - killed < 1
        assert http.get("/health").status_code == 503
        assert http.post("/v1/completions", json=LONG).status_code == 503
        assert not server.link._jobs
        with engine_process(own_address):
            server.wait_ready()
            answer = http.post("/v1/completions", json={**LONG, "max_tokens": 5})
            assert answer.json()["choices"][0]["text"] == TEXT[:5]
            assert http.get("/health").status_code == 200


def test_f16_stopped_engine(own_address: str) -> None:
    with live(own_address) as server, engine_process(own_address) as process:
        server.wait_ready()
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: httpx.get(f"{server.url}/health").status_code == 503, 6)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: httpx.get(f"{server.url}/health").status_code == 200, 5)
        answer = httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 5})
        assert answer.json()["choices"][0]["text"] == TEXT[:5]


def test_f3_server_restart_and_orphans(own_address: str) -> None:
    with FakeEngine(own_address, delay=0.01) as engine:
        with live(own_address) as server:
            server.wait_ready()
            with (
                httpx.Client(base_url=server.url) as http,
                http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as r,
            ):
                lines = r.iter_lines()
                next(lines)
                server.stop()
        wait_for(lambda: not engine.running, 2)
        started = time.monotonic()
        with live(own_address) as server:
            server.wait_ready()
            assert time.monotonic() - started < 1


def test_f4_two_servers(own_address: str) -> None:
    with FakeEngine(own_address, delay=0.005) as engine, live(own_address) as one, live(own_address) as two:
        one.wait_ready()
        two.wait_ready()

        async def both() -> list[tuple[list[Ended], float]]:
            return await asyncio.gather(*(gather(s.url, [LONG] * 4) for s in (one, two)))

        for ended, _ in asyncio.run(both()):
            for each in ended:
                assert each.done
                assert each.said.startswith(TEXT)
        assert len({r.id for r in engine.requests}) == 4  # each server numbers its own
