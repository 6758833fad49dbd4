"""An engine at an address of its own, and a bare socket before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustinfer.protocol.address import private_address
from rustinfer.protocol.router import EngineChannel

from .ends import Dealer, bind


@pytest.fixture
def address() -> Iterator[str]:
    address = private_address()
    yield address
    shutil.rmtree(Path(address.removeprefix("ipc://")).parent)


@pytest.fixture
def engine(address: str) -> Iterator[EngineChannel]:
    channel = bind(address, probe_seconds=0.05)
    yield channel
    channel.close()


@pytest.fixture
def dealer(address: str, engine: EngineChannel) -> Iterator[Dealer]:
    dealer = Dealer(address)
    yield dealer
    dealer.close()
