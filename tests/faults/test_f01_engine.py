"""Engines that die, come back, stop and go on: F1, F2, F16, F25."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Saw

from .conftest import slowed
from .streams import streams
from .world import GOLDEN, LONG, PATIENCE, Engine, Server, wait_for


@pytest.fixture(scope="module")
def pair(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Server]]:
    folder = tmp_path_factory.mktemp("pair")
    engine = slowed(folder, model)
    server = Server(folder, engine.address)
    engine.wait_ready()
    server.wait_ready()
    yield engine, server
    server.kill()
    engine.kill()


def test_f1_f2_killed_engine(pair: tuple[Engine, Server], model: Path, saw: Saw) -> None:
    """kill -9 of the engine while 32 streams run; then a new engine at the same address."""
    engine, server = pair
    golden = server.golden()
    began = time.monotonic()
    streams(server.url, [{**GOLDEN, "n": 0}] * 32)  # 32 clients are told something
    usual = time.monotonic() - began
    ended, killed = streams(server.url, [LONG] * 32, lambda: engine.signal(signal.SIGKILL))
    engine.kill()
    told = max(each.at for each in ended) - killed
    assert all(each.done for each in ended)
    assert {each.error for each in ended} == {"engine_unavailable"}
    assert told < max(1, 10 * usual)  # a quarter of a second where nobody else works
    saw("all 32 streams: an error event `engine_unavailable`, then [DONE]", told)
    for answer in (server.get("/health"), server.post(GOLDEN), server.post({**GOLDEN, "stream": True})):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert server.metrics()["requests_active"] == 0

    folder = engine.log.parent
    second = Engine(folder, model)
    try:
        second.wait_ready()
        ready = time.monotonic()
        wait_for(lambda: server.post(GOLDEN).status_code == 200)
        back = time.monotonic() - ready
        assert server.golden() == golden
        assert back < max(1, 10 * usual)  # half a second where nobody else works
        saw("503 with Retry-After until then; the known answer after the new engine was ready", back)
    finally:
        second.kill()


def active(url: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=60).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("rustinfer_requests_active ")))


def test_f1_f2_supervised(model: Path, tmp_path: Path, saw: Saw) -> None:
    """kill -9 of the engine below `rustinfer serve`; nobody does anything.

    Where the new one is late, what was not begun is refused after 3 s; that depends on who else uses the machine.
    """
    from tests.test_supervisor import Service

    service = Service(model, tmp_path)
    try:
        engine, server = service.engine, service.servers[0]
        body = {**GOLDEN, "model": model.name}
        golden = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60).json()["choices"][0]["text"]
        os.kill(engine, signal.SIGSTOP)  # so that it says nothing of what it is asked
        with ThreadPoolExecutor(1) as pool:
            early = pool.submit(httpx.post, f"{service.url}/v1/completions", json=body, timeout=60)
            # Where that takes two seconds the engine is lost by then, and it is refused.
            wait_for(lambda: early.done() or active(service.url) == 1)
            os.kill(engine, signal.SIGKILL)
            started = time.monotonic()
            answer = early.result()
        assert (answer.status_code, answer.headers.get("x-retried")) in ((200, "1"), (503, None))
        if answer.status_code == 200:
            assert answer.json()["choices"][0]["text"] == golden
            saw("what it had been asked and not begun: the known answer, with X-Retried", time.monotonic() - started)
        codes = set()

        def again() -> bool:
            answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
            codes.add(answer.status_code)
            return answer.status_code == 200 and answer.json()["choices"][0]["text"] == golden

        wait_for(again, "the known answer")
        assert codes <= {200, 503}
        assert service.servers[0] == server
        saw("503 with Retry-After, then the known answer; start of a new engine included", time.monotonic() - started)
    finally:
        service.process.terminate()
        service.process.wait(PATIENCE)
