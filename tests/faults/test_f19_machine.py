"""The machine's side: full disks, files that go, busy processors, clocks, sockets already there. F19, F24 to F26."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT, Saw

from .conftest import World
from .streams import streams
from .world import GOLDEN, PATIENCE, Engine, Process, Server, wait_for


def test_f19_full_disk(model: Path, tmp_path: Path, saw: Saw) -> None:
    """Both logs on a full disk, and the model's folder removed while the engine runs."""
    copy = shutil.copytree(model, tmp_path / "copy")
    engine = Engine(tmp_path, copy)
    engine.kill()
    with Path("/dev/full").open("w") as full:
        sizes = ("--threads=1", "--served-model-name=tiny")
        command = ["-m", "rustinfer.engine.main", str(copy), "--endpoint", engine.address, *sizes]
        engine.popen = subprocess.Popen([sys.executable, *command], stderr=full)
        server = Server(tmp_path, engine.address)
        try:
            server.wait_ready()
            before = server.golden()
            server.kill()
            shutil.rmtree(copy)
            log = tmp_path / "ready"
            with log.open("w") as out:
                words = ["-m", "rustinfer.server.main", "--engine", engine.address, "--port=0", "--log-level=debug"]
                server.popen = subprocess.Popen([sys.executable, *words], stdout=out, stderr=full)
            wait_for(lambda: "Ready: " in log.read_text())
            server.url = log.read_text().split()[1]
            started = time.monotonic()
            assert server.golden() == before
            saw("the known answer", time.monotonic() - started)
        finally:
            server.kill()
            engine.kill()


def test_f24_busy_processor(world: World, saw: Saw) -> None:
    """Every core busy four times over for 4 s."""
    burn = "import time; end = time.monotonic() + 4\nwhile time.monotonic() < end: pass"
    burners = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(4 * (os.cpu_count() or 1))]
    losses, slowest = world.server.metrics()["engine_losses_total"], 0.0
    try:
        while any(each.poll() is None for each in burners):
            started = time.monotonic()
            assert world.server.golden() == world.golden
            slowest = max(slowest, time.monotonic() - started)
    finally:
        for each in burners:
            each.kill()
            each.wait()
    assert world.server.metrics()["engine_losses_total"] == losses
    saw("every request got the known answer, the engine was never taken for lost; the slowest", slowest)


CLOCKS = re.compile(r"\btime\.time\(\)|\bdatetime\.(now|utcnow)\(")


def test_f24_no_clock_that_can_jump(saw: Saw) -> None:
    """The time of day jumps by an hour."""
    for folder in ("server", "engine", "protocol"):
        for path in (ROOT / "rustinfer" / folder).rglob("*.py"):
            uses = [line for line in path.read_text().splitlines() if CLOCKS.search(line)]
            # Written down for people as whole seconds, and compared with nothing.
            assert all("int(time.time())" in line for line in uses), path
    saw("nothing: no process reads that clock but to write a date down", None)


@pytest.fixture
def clock(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment of processes whose time of day is off by the seconds in a file, and that file."""
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    compiler = shutil.which("cc") or shutil.which("g++")
    assert compiler, "the kernels for the CPU need a compiler, too"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-xc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    file.write_bytes(bytes(8))
    return {"LD_PRELOAD": str(library), "CLOCK_FILE": str(file)}, file


def test_f24_the_clock_jumps(model: Path, tmp_path: Path, clock: tuple[dict[str, str], Path], saw: Saw) -> None:
    """The time of day of both processes jumps an hour ahead and two back, each time while 8 streams run."""
    env, file = clock
    engine = Engine(tmp_path, model, env=env)
    server = Server(tmp_path, engine.address, "--api-key=k", "--requests-per-minute=100000", env=env)
    headers = {"authorization": "Bearer k"}
    try:
        engine.wait_ready()
        server.wait_ready()

        def ask() -> dict[str, Any]:
            answer = httpx.post(f"{server.url}/v1/completions", json=GOLDEN, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        first, losses, slowest = ask(), server.metrics(headers)["engine_losses_total"], 0.0
        for hours in (1, -1):

            def jump(hours: int = hours) -> None:
                with file.open("r+b") as opened:
                    opened.write((3600 * hours).to_bytes(8, sys.byteorder, signed=True))

            ended, _ = streams(server.url, [{**GOLDEN, "max_tokens": 300}] * 8, jump, headers)
            assert all(each.done and each.error is None for each in ended)
            asked = time.monotonic()
            answer = ask()
            slowest = max(slowest, time.monotonic() - asked)
            assert answer["choices"] == first["choices"]
            assert abs(answer["created"] - first["created"] - 3600 * hours) < 100  # it did jump
            time.sleep(1.2)  # heartbeats and leases go on
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        assert server.metrics(headers)["engine_losses_total"] == losses
        saw("every stream complete, nothing timed out or was lost, the known answer after each jump", slowest)
    finally:
        server.kill()
        engine.kill()


def test_f25_two_engines_on_one_path(world: World, model: Path, saw: Saw) -> None:
    """A second engine at the address of one that runs."""
    started = time.monotonic()
    address = world.engine.address
    second = Process(world.folder / "second.log", "-m", "rustinfer.engine.main", str(model), "--endpoint", address)
    assert second.popen.wait(PATIENCE) == 2
    (line,) = [line for line in second.log.read_text().splitlines() if line.startswith("error: ")]
    assert str(world.engine.pid) in line
    saw("one line that names the first one's process, exit code 2; the first was unharmed", time.monotonic() - started)


def test_f25_port_in_use(world: World, saw: Saw) -> None:
    """A second server on the port of one that runs."""
    command = ("--engine", world.engine.address, "--port", str(world.server.port))
    second = Process(world.folder / "port.log", "-m", "rustinfer.server.main", *command)
    assert second.popen.wait(PATIENCE) == 2
    assert "is in use: choose another with --port" in second.log.read_text()
    saw("one line, exit code 2", None)


@pytest.mark.parametrize("kind", ["one word", "spaces", "special tokens"])
def test_f26_texts_that_are_hard_on_tokenizers(world: World, saw: Saw, kind: str) -> None:
    """A prompt of 2 MB."""
    text = {"one word": "x" * 2_000_000, "spaces": " " * 2_000_000, "special tokens": "<end>" * 400_000}[kind]
    started = time.monotonic()
    answer = world.server.post({"model": "tiny", "prompt": text})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    saw("400 `context_length_exceeded`", time.monotonic() - started)
