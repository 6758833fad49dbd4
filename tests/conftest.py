"""What tests of several folders share: a server that is really running."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rustinfer.engine.machine import give_way

from .told import Row, Told

# Before any test imports torch: its threads would keep a core from the other half of the tests.
give_way()
# A busy machine is no fault, and what is red is so by the change that was tested: `--hypothesis-profile=luck` tries
# other examples each time.
settings.register_profile("luck", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("luck"), derandomize=True)
settings.load_profile("same")
ROOT = Path(__file__).parent.parent
START_SECONDS = 500.0  # with the model still to be fetched, on a busy machine


Saw = Callable[..., None]
"""`saw(text, seconds)`: a line of the table of faults, about what the running test's docstring says was done."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-report", metavar="FILE", type=Path, help="write the table of faults and attacks there")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run for the table is one of the tests that tell something."""
    if config.getoption("--fault-report"):
        others = [item for item in items if "saw" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def told(pytestconfig: pytest.Config) -> Iterator[Told]:
    made = Told()
    yield made
    if file := pytestconfig.getoption("--fault-report"):
        made.write(file)


@pytest.fixture
def saw(told: Told, request: pytest.FixtureRequest) -> Saw:
    done = (request.function.__doc__ or "").strip().splitlines()[0].rstrip(".")
    case = getattr(getattr(request.node, "callspec", None), "id", "")
    shown = f"{done} ({case})" if case else done
    return lambda seen, seconds=None: told.rows.append(Row(request.function.__name__, shown, seen, seconds))


@dataclass(frozen=True)
class Running:
    """A server's address and the port in it."""

    url: str
    port: int


@pytest.fixture(scope="session")
def command_path() -> str:
    """A PATH on which this interpreter's `rustinfer`, `python` and `pytest` come first."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


@pytest.fixture(scope="session")
def running_server(command_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`rustinfer serve smollm2`, from the outside: started once, and stopped at the end."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    rustinfer = shutil.which("rustinfer", path=command_path)
    assert rustinfer, "rustinfer is not installed beside this Python: make setup"
    command = [rustinfer, "serve", "smollm2", "--port", str(port), "--max-model-len", "2048"]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _await_ready(process, log)
        yield Running(f"http://127.0.0.1:{port}", port)
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    """A port that nobody listens on right now, and that the kernel gives nobody who asks it for any."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(1024, max(lowest, 2048)), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ready: http://" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the server did not come up:\n{log.read_text()}")
        time.sleep(0.1)
