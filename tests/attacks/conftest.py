from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import World, model, shared, world
from tests.faults.world import Server

__all__ = ["locked", "model", "shared", "world"]
KEY = "k-17"


@pytest.fixture(scope="session")
def locked(shared: World) -> Iterator[Server]:
    """A server that demands a key, before the shared engine; it logs everything, as JSON."""
    flags = (f"--api-key={KEY}", "--log-format=json", "--log-level=debug", "--log-requests")
    server = Server(shared.folder, shared.engine.address, *flags).wait_ready()
    yield server
    server.kill()
