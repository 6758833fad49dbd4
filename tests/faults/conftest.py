from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .model import save
from .plugins import slow
from .world import GOLDEN, Engine, Server, Usage, wait_for


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tiny") / "tiny")


STEP_SECONDS = 0.2


def slowed(folder: Path, model: Path) -> Engine:
    """An engine that takes `STEP_SECONDS` for each step."""
    path = os.pathsep.join(filter(None, [str(slow(folder / "site", STEP_SECONDS)), os.environ.get("PYTHONPATH")]))
    return Engine(folder, model, env={"PYTHONPATH": path, "RUSTINFER_STRICT_PLUGINS": ""})


@pytest.fixture(scope="session")
def slow_engine(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One whose steps can be counted, and that is not soon done with what it is asked."""
    engine = slowed(tmp_path_factory.mktemp("slow"), model)
    try:
        yield engine.wait_ready()
    finally:
        engine.kill()


@pytest.fixture(scope="session")
def slow_pair(slow_engine: Engine) -> Iterator[Server]:
    """A server before it."""
    server = Server(slow_engine.log.parent, slow_engine.address)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


@dataclass
class World:
    """One engine and one server that all cases share which harm neither for good."""

    engine: Engine
    server: Server
    golden: str
    folder: Path


@pytest.fixture(scope="session")
def shared(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    engine = Engine(folder, model)
    server = Server(folder, engine.address)
    try:
        engine.wait_ready()
        server.wait_ready()
        golden = server.golden()
        # Whatever grows at the first requests has grown: pools of threads, the processes that try grammars.
        with ThreadPoolExecutor(8) as pool:
            formed = [{**GOLDEN, "structured_outputs": {"regex": f"a{{{n + 1}}}"}} for n in range(8)]
            assert {answer.status_code for answer in pool.map(server.post, formed)} == {200}
        yield World(engine, server, golden, folder)
    finally:
        server.kill()
        engine.kill()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The shared processes, which must be as they were when the case is over."""
    wait_for(shared.server.quiet, "a quiet start")
    pid, before = shared.engine.pid, (shared.engine.usage(), shared.server.usage())
    tasks = shared.server.metrics()["server_tasks"]
    yield shared
    assert shared.engine.alive
    assert shared.engine.pid == pid
    wait_for(lambda: shared.server.get("/health").status_code == 200, "the engine, if it stood for long")
    wait_for(shared.server.quiet, "all pages free")
    assert shared.server.golden() == shared.golden
    wait_for(lambda: no_growth(before, (shared.engine.usage(), shared.server.usage())), "descriptors and threads back")
    wait_for(lambda: shared.server.metrics()["server_tasks"] <= tasks + 1, "tasks back")


def no_growth(before: tuple[Usage, Usage], after: tuple[Usage, Usage]) -> bool:
    # A connection that is being closed may count for a moment; a pool of threads grows to its size once.
    return all(a.files <= b.files + 2 and a.threads <= b.threads + 16 for b, a in zip(before, after, strict=True))
