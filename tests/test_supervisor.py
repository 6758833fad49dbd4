"""The supervisor: over scripts that die as told, and over a real engine and server of a tiny model."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rustinfer.child import Child
from rustinfer.supervisor import Supervisor, also_named, environment, server_flags

from .engine.tiny import save

PATIENCE = 300.0
"""Seconds for what is a matter of moments on an idle machine, and takes for ever where it goes wrong."""
GONE_SECONDS = 2.0
"""What a start may still cost of the processor once it was told to stop."""
PROGRAM = """
import sys
from pathlib import Path
from rustinfer import supervisor
from rustinfer.child import Child
from rustinfer.supervisor import Supervisor
supervisor.logging.basicConfig(level="INFO", format="%(message)s")
folder, grace, scripts = Path(sys.argv[1]), int(sys.argv[3]), sys.argv[4:]
ready = folder / "ready"
engine, server = ([sys.executable, "-c", script, str(folder)] for script in scripts)
first = Child("engine", engine, ready=ready.exists, reset=lambda: ready.unlink(missing_ok=True))
supervisor.SETTLED_SECONDS = 0.5
servers = [Child("server", server), *(Child("spare server", server) for _ in range(int(sys.argv.pop(2))))]
sys.exit(Supervisor(first, servers, grace).run())
"""
HEAD = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def note(name): (folder / name).open("a").write(f"{os.getpid()}\\n")
def on_term(*_): note(me + " stopped"); sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
"""
ENGINE = HEAD + "me = 'engine'; (folder / 'ready').touch(); note('engine started'); time.sleep(1000)"
SERVER = HEAD + "me = 'server'; note('server started'); time.sleep(1000)"


class Run:
    def __init__(
        self,
        folder: Path,
        engine: str = ENGINE,
        server: str = SERVER,
        *,
        spares: int = 0,
        grace: int = 1000,
        program: str = PROGRAM,
    ) -> None:
        self.folder, self.log = folder, folder / "log"
        with self.log.open("w") as log:
            command = [sys.executable, "-c", program, str(folder), str(spares), str(grace), engine, server]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def pids(self, name: str, count: int = 1) -> list[int]:
        """The processes that left this note, once there are so many."""
        wait_for(lambda: len(self._lines(name)) >= count)
        return [int(line) for line in self._lines(name)]

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """The processes below that one, and below those."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(path.parent.name)] = int(path.read_text().rsplit(") ", 1)[1].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Any]:
    made: list[Run] = []

    def start(*scripts: str, **more: Any) -> Run:
        made.append(Run(tmp_path, *scripts, **more))
        return made[-1]

    yield start
    for run in made:
        run.process.kill()
        run.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_then_the_engine(runs: Any, number: int) -> None:
    run = runs()
    pids = run.pids("engine started") + run.pids("server started")
    run.process.send_signal(number)
    assert run.process.wait(PATIENCE) == 0
    stopped = [(run.folder / f"{name} stopped").stat().st_mtime_ns for name in ("server", "engine")]
    assert stopped == sorted(stopped)
    assert not any(map(alive, pids))


def test_a_child_that_does_not_stop_is_killed(runs: Any) -> None:
    stubborn = ENGINE.replace("sys.exit(0)", "None").replace("time.sleep(1000)", "[time.sleep(1) for _ in range(1000)]")
    run = runs(stubborn, grace=1)
    pids = run.pids("engine started") + run.pids("server started")
    start = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(PATIENCE) == 0
    assert time.monotonic() - start > 1
    assert not any(map(alive, pids))


@pytest.mark.parametrize("name", ["engine", "server"])
def test_a_child_that_dies_is_started_again(runs: Any, name: str) -> None:
    run = runs()
    other = "server" if name == "engine" else "engine"
    first = run.pids(f"{name} started")[0]
    kept = run.pids(f"{other} started")
    os.kill(first, signal.SIGKILL)
    second = run.pids(f"{name} started", 2)[1]
    assert alive(second)
    assert run.pids(f"{other} started") == kept
    # At once: of a pause the line would tell.
    assert f"the {name} ended (signal 9); starting it again" in run.log.read_text().splitlines()


@pytest.mark.parametrize("code", [2, 3])
def test_a_mistake_at_the_start_ends_everything_with_its_code(runs: Any, code: int) -> None:
    run = runs(HEAD + f"note('engine started'); sys.stderr.write('error: no such model\\n'); sys.exit({code})")
    assert run.process.wait(PATIENCE) == code
    assert run.log.read_text().splitlines() == ["error: no such model"]
    run.pids("engine started")


def test_a_crash_at_the_start_is_tried_again_but_not_for_ever(runs: Any) -> None:
    run = runs(HEAD + "note('engine started'); os.kill(os.getpid(), 9)")
    assert run.process.wait(PATIENCE) == 1
    assert len(run.pids("engine started")) == 3
    assert "died 3 times before it was ready" in run.log.read_text()


def test_a_spare_server_comes_later_and_nothing_depends_on_it(runs: Any) -> None:
    fickle = SERVER.replace(
        "note('server started')", "note('server started'); (folder / 'bad').exists() and sys.exit(2)"
    )
    run = runs(ENGINE, fickle, spares=1)
    first, spare = run.pids("server started", 2)
    (run.folder / "bad").touch()
    os.kill(spare, signal.SIGKILL)
    run.pids("server started", 5)  # again and again, though it ends with the code of a mistake
    assert alive(first)
    assert run.process.poll() is None
    (run.folder / "bad").unlink()
    wait_for(lambda: alive(run.pids("server started")[-1]) and run.pids("server started")[-1] != first)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(PATIENCE) == 0
    assert not any(map(alive, run.pids("server started") + run.pids("engine started")))


def test_no_orphan_when_the_supervisor_is_killed(runs: Any) -> None:
    run = runs()
    pids = run.pids("engine started") + run.pids("server started")
    run.process.kill()
    wait_for(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("name", ["engine", "server"])
def test_a_signal_while_a_child_is_being_started_stops_it_too(runs: Any, name: str) -> None:
    """The process is there, but who told it to start has not yet heard so."""
    told = f"""
class Told(subprocess.Popen):
    def __init__(self, command, **more):
        super().__init__(command, **more)
        if "me = '{name}'" in command[2]:
            os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Told
"""
    run = runs(program=f"import os, signal, subprocess{told}{PROGRAM}")
    assert run.process.wait(PATIENCE) == 0, run.log.read_text()


@pytest.mark.parametrize(
    ("first", "starts", "step"),
    [(0.0, 10, 0.3), pytest.param(0.05, 60, 0.05, marks=pytest.mark.slow)],
)
def test_serve_that_is_told_to_stop_while_it_starts_is_gone(
    first: float, starts: int, step: float, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "rustinfer.cli", "serve", str(save(tmp_path / "model")), "--port=0", "--threads=1"]
    command += ["--shutdown-timeout=1000"]  # for whom nobody told to stop
    for start in range(starts):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(first + start * step)
        family = [process.pid, *descendants(process.pid)]
        spent = sum(map(cpu_seconds, family))
        process.send_signal((signal.SIGTERM, signal.SIGINT)[start % 2])
        try:
            wait_for(lambda process=process, family=family: gone(process, family))
        finally:
            process.kill()
            process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - spent < GONE_SECONDS


def cpu_seconds(pid: int) -> float:
    """What a process has had of the processor."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gone(process: subprocess.Popen[bytes], family: list[int]) -> bool:
    family += [pid for pid in descendants(process.pid) if pid not in family]
    return process.poll() is not None and not any(map(alive, family))


def test_a_model_answers_to_what_it_was_asked_for_by() -> None:
    assert also_named(Namespace(model="smollm2", served_model_name=None)) == ["--also-named=smollm2"]
    assert also_named(Namespace(model="smollm2", served_model_name="mine")) == []
    assert also_named(Namespace(model="/home/me/model", served_model_name=None)) == []


def test_keys_go_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUSTINFER_API_KEY", raising=False)
    monkeypatch.setenv("RUSTINFER_PORT", "7")
    args = Namespace(host="127.0.0.1", port=9, api_key=["one", "two"], any_model=True)
    assert server_flags(args) == ["--host=127.0.0.1", "--port=9", "--any-model"]
    assert environment(args, keys=True)["RUSTINFER_API_KEY"] == "one,two"
    for shown in (environment(args, keys=False), environment(Namespace(api_key=[]), keys=True)):
        assert "RUSTINFER_API_KEY" not in shown
        assert "RUSTINFER_PORT" not in shown


def test_children_are_named_by_role() -> None:
    pair = Supervisor(Child("engine", []), [Child("server", [])])
    assert [child.name for child in pair.children] == ["engine", "server"]
    assert not any(child.running for child in pair.children)


class Service:
    """`rustinfer serve` of a tiny model on any free port."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.out = folder / "out"
        command = [sys.executable, "-m", "rustinfer.cli.main", "serve", str(model), "--port=0", "--threads=1"]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        wait_for(lambda: "Ready: " in self.out.read_text() or self.process.poll() is not None)
        lines = [line for line in self.out.read_text().splitlines() if line.startswith("Ready: ")]
        assert lines, self.out.read_text()
        self.url = lines[0].removeprefix("Ready: ")

    def children(self) -> dict[str, list[int]]:
        """Process numbers by module, in the order of their start."""
        found: dict[str, list[tuple[int, int]]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                fields = (path / "stat").read_text().rsplit(") ", 1)[1].split()
                words = (path / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and alive(int(path.name)) and len(words) > 2:
                found.setdefault(words[2], []).append((int(fields[19]), int(path.name)))
        return {module: [pid for _, pid in sorted(pids)] for module, pids in found.items()}

    @property
    def engine(self) -> int:
        """The engine's process."""
        return self.children()["rustinfer.engine.main"][0]

    @property
    def servers(self) -> list[int]:
        """The servers' processes: the one that answers, then the spare if it is there yet."""
        return self.children()["rustinfer.server.main"]

    def complete(self) -> str:
        body = {"model": "model", "prompt": "abc", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        request = urllib.request.Request(
            f"{self.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return str(json.load(response)["choices"][0]["text"])


def test_serve_survives_the_death_of_its_engine(tmp_path: Path) -> None:
    service = Service(save(tmp_path / "model"), tmp_path)
    try:
        engine, server, said = service.engine, service.servers[0], service.complete()
        assert said
        os.kill(engine, signal.SIGKILL)

        codes: set[int] = set()

        def works() -> bool:
            try:
                return service.complete() == said
            except urllib.error.HTTPError as error:
                codes.add(error.code)
                return False

        wait_for(works)
        assert codes <= {503}
        assert service.servers[0] == server
        assert service.engine != engine
        after = [service.engine, *service.servers]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0
        assert not any(map(alive, after))
    finally:
        service.process.kill()
        service.process.wait()


def test_serve_says_in_one_line_what_is_wrong_with_the_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rustinfer.cli.main", "serve", str(tmp_path / "none"), "--port=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "error" in line.lower()] != []
    assert "Traceback" not in done.stderr
