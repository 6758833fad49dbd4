"""Servers that come, go and share an engine: F3, F4, F15, F16."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import Saw
from tests.test_supervisor import Service

from .conftest import World
from .streams import streams
from .world import GOLDEN, LONG, PATIENCE, Engine, Server, wait_for


def test_f3_server_restart(world: World, saw: Saw) -> None:
    """kill -9 of a server with 8 streams open, and a new one before the same engine."""
    began = time.monotonic()
    first = Server(world.folder, world.engine.address).wait_ready()
    usual = time.monotonic() - began  # of which Python's own start is the most
    loads = world.engine.log.read_text().count("ready in")
    with suppress(httpx.HTTPError):
        streams(first.url, [LONG] * 8, first.kill)
    started = time.monotonic()
    second = Server(world.folder, world.engine.address)
    try:
        gone = wait_for(world.server.quiet, "the orphans' end")
        second.wait_ready()
        back = time.monotonic() - started
        assert second.golden() == world.golden
        assert world.engine.log.read_text().count("ready in") == loads
        assert second.said("engine connected")
        saw("its requests were aborted and their pages free", gone)
        saw("a new process gave the known answer; the engine loaded nothing again", back)
        assert back < max(5, 3 * usual)
    finally:
        second.kill()


def test_f3_supervised(model: Path, tmp_path: Path, saw: Saw) -> None:
    """kill -9 and SIGTERM of the server below `rustinfer serve` while new clients come; nobody does anything."""
    service = Service(model, tmp_path)
    body = {**GOLDEN, "model": model.name}

    def ask() -> str:
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=PATIENCE)
        return str(answer.json()["choices"][0]["text"])

    def connected() -> int:
        return service.out.read_text().count("engine connected")

    try:
        engine, golden, seen = service.engine, ask(), 1
        for number, name in ((signal.SIGKILL, "kill -9"), (signal.SIGTERM, "SIGTERM")):
            wait_for(lambda: connected() > seen, "a spare server")  # noqa: B023 - called here and now
            seen = connected()
            old = service.servers[0]
            os.kill(old, number)
            started, slowest = time.monotonic(), 0.0
            while service.servers[0] == old or time.monotonic() - started < 2:
                asked = time.monotonic()
                assert asked - started < PATIENCE
                assert ask() == golden  # with a connection of its own: none was refused, none got an error
                slowest = max(slowest, time.monotonic() - asked)
            saw(f"{name}: every connection was taken and got the known answer; the slowest", slowest)
            assert slowest < 10  # a tenth of a second where nobody else works
        assert service.engine == engine
    finally:
        service.process.terminate()
        service.process.wait(PATIENCE)


def test_f4_two_servers(world: World, saw: Saw) -> None:
    """Two servers before one engine, 8 streams each with the same ids; one server is killed."""
    other = Server(world.folder, world.engine.address).wait_ready()
    wanted, _ = streams(world.server.url, [{**GOLDEN, "max_tokens": 300}])
    result: list[object] = []

    def background() -> None:
        result.extend(streams(world.server.url, [{**GOLDEN, "max_tokens": 300}] * 8)[0])

    thread = threading.Thread(target=background)
    thread.start()
    killed = []

    def kill() -> None:
        other.kill()
        killed.append(True)

    with suppress(httpx.HTTPError):
        streams(other.url, [LONG] * 8, kill)
    thread.join(60)
    assert killed
    assert [each.said for each in result] == [wanted[0].said] * 8  # type: ignore[attr-defined]
    saw("the other's 8 streams were complete and right", None)


def test_f16_sigterm_drains(world: World, saw: Saw) -> None:
    """SIGTERM to a server with 4 streams open."""
    server = Server(world.folder, world.engine.address).wait_ready()
    body = {**GOLDEN, "max_tokens": 400}
    ended, told = streams(server.url, [body] * 4, lambda: server.signal(signal.SIGTERM))
    assert all(each.done and each.error is None for each in ended)
    assert server.popen.wait(PATIENCE) == 0
    saw("all 4 streams came to their end, new connections were refused, exit code 0", time.monotonic() - told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["twice SIGTERM", "SIGINT, no timeout"])
def test_f16_without_drain(slow_engine: Engine, saw: Saw, number: int) -> None:
    """A server is told to end at once."""
    patience = 0 if number == signal.SIGINT else 600
    server = Server(slow_engine.log.parent, slow_engine.address, f"--shutdown-timeout={patience}").wait_ready()

    def stop() -> None:
        server.signal(number)
        if patience:
            time.sleep(0.1)
            server.signal(number)

    ended, told = streams(server.url, [LONG] * 4, stop)
    assert {each.error for each in ended} == {"shutting_down"}
    assert all(each.done for each in ended)
    assert server.popen.wait(PATIENCE) == 0
    saw("each stream: an error event `shutting_down`, then [DONE]; exit code 0", time.monotonic() - told)


def test_f16_stopped_engine(world: World, saw: Saw) -> None:
    """SIGSTOP to the engine for some seconds, then SIGCONT."""
    world.engine.signal(signal.SIGSTOP)
    try:
        noticed = wait_for(lambda: world.server.get("/health").status_code == 503, "a 503")
        assert world.server.post(GOLDEN).status_code == 503
        assert noticed < 20  # three seconds where nobody else works
        saw("/health and requests: 503 by heartbeat", noticed)
        losses = world.server.metrics()["engine_losses_total"]
        time.sleep(1.5)
    finally:
        world.engine.signal(signal.SIGCONT)
    back = wait_for(lambda: world.server.post(GOLDEN).status_code == 200, "the return")
    assert world.server.metrics()["engine_losses_total"] - losses <= 1
    saw("the known answer again after SIGCONT", back)
