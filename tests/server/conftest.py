"""A live server on a free port, in a thread, before a fake engine."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
import uvloop

from rustinfer.protocol.address import private_address
from rustinfer.server.app import create
from rustinfer.server.http import configuration
from rustinfer.server.listener import listen
from rustinfer.server.options import Options

from .fake_engine import FakeEngine

MODEL = "acme/bytes"


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


class LiveServer:
    def __init__(self, options: Options, port: int = 0) -> None:
        self.app = create(options)
        self.link = self.app.state.link
        listener = listen("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(configuration(self.app, options))
        run = self._server.serve(sockets=[listener])
        self._thread = threading.Thread(target=lambda: uvloop.run(run), daemon=True)

    def start(self) -> None:
        self._thread.start()
        wait_for(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def wait_ready(self) -> None:
        wait_for(lambda: self.link.up)


@contextmanager
def live(address: str, port: int = 0, **options: Any) -> Iterator[LiveServer]:
    server = LiveServer(Options(**{"engine": address, "shutdown_timeout": 0, **options}), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def client_of(address: str) -> Iterator[httpx.Client]:
    """A client of a server of its own before the engine at `address`."""
    with live(address) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        server.wait_ready()
        yield http


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    address = private_address()
    yield address
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


@pytest.fixture
def own_address() -> Iterator[str]:
    address = private_address()
    yield address
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


@pytest.fixture(scope="module")
def shared_engine(address: str) -> Iterator[FakeEngine]:
    with FakeEngine(address) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: FakeEngine) -> Iterator[FakeEngine]:
    """The module's engine, with its settings put back afterwards."""
    kept = dict(vars(shared_engine))
    shared_engine.requests.clear()
    shared_engine.aborted.clear()
    yield shared_engine
    for name in ("delay", "text", "ends", "refuse", "fail_after", "hold", "queue"):
        setattr(shared_engine, name, kept[name])


@pytest.fixture(scope="module")
def server(address: str, shared_engine: FakeEngine) -> Iterator[LiveServer]:
    with live(address) as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client
