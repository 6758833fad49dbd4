"""What goes wrong inside the engine: numbers, memory, plugins that raise, exit or hang. F17, F18, F23."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Saw

from .conftest import World
from .model import POISON
from .plugins import raising, site
from .streams import streams
from .world import GOLDEN, PATIENCE, Engine, Process, Server, wait_for


def test_f17_numbers_that_are_not_finite(world: World, saw: Saw) -> None:
    """4 requests whose logits are NaN among 8 whose are not."""
    body = {**GOLDEN, "max_tokens": 200}
    wanted, _ = streams(world.server.url, [body])
    bad = {**body, "prompt": f"abc{POISON}"}
    started = time.monotonic()
    ended, _ = streams(world.server.url, [body] * 8)
    assert {each.said for each in ended} == {wanted[0].said}
    for stream in (False, True):
        answer = world.server.post({**bad, "stream": stream})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "numerical_error"
    mixed = _mixed(world.server, body, bad)
    assert mixed == [wanted[0].said] * 8
    saw("these: 500 `numerical_error`; the 8 others: the known answer, token by token", time.monotonic() - started)


def _mixed(server: Server, body: dict[str, object], bad: dict[str, object]) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(12) as pool:
        good = [pool.submit(server.post, body) for _ in range(8)]
        broken = [pool.submit(server.post, bad) for _ in range(4)]
        assert {each.result().status_code for each in broken} == {500}
        return [each.result().json()["choices"][0]["text"] for each in good]


@pytest.fixture(scope="module")
def dying(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Server, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("dying")
    path = os.pathsep.join(filter(None, [str(site(folder / "site")), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": path, "RUSTINFER_STRICT_PLUGINS": ""}
    engine = Engine(folder, model, env=env)
    server = Server(folder, engine.address)
    engine.wait_ready()
    server.wait_ready()
    yield engine, server, env
    server.kill()
    engine.kill()


Dying = tuple[Engine, Server, dict[str, str]]


def test_f23_plugins_that_cannot_be_loaded(dying: Dying, saw: Saw, model: Path, tmp_path: Path) -> None:
    """Plugins that raise or exit when imported, define what there is, or were written for another API."""
    engine, server, env = dying
    log = engine.log.read_text()
    assert "plugin aaa_raises (aaa_raises) failed to load: ImportError: not today" in log
    assert "plugin aaa_exits (aaa_exits) failed to load: SystemExit: 0" in log
    assert "op rms_norm is defined twice: by " in log
    assert "it was written for plugin API 99, this rustinfer has 1" in log
    assert server.golden()
    told = server.get("/health?verbose").json()["failed_plugins"]
    assert told["aaa_raises"] == "ImportError: not today"
    assert told["aaa_exits"] == "SystemExit: 0"
    assert set(told) == {"aaa_raises", "aaa_exits", "aaa_twin", "aaa_other_abi"}
    assert server.get("/health").json() == {"status": "ok"}
    saw("named in the log and in /health?verbose with their reasons; requests were answered", None)
    strict = Process(
        tmp_path / "log", "-m", "rustinfer.engine.main", str(model), env=env | {"RUSTINFER_STRICT_PLUGINS": "1"}
    )
    assert strict.popen.wait(PATIENCE) not in (0, None)
    assert "Traceback" not in strict.log.read_text()
    saw("with RUSTINFER_STRICT_PLUGINS: the engine does not start, and says which one in one line", None)


def test_f18_f23_t24_a_kernel_that_runs_out_of_memory(dying: Dying, saw: Saw) -> None:
    """A plugin's kernel raises MemoryError for one request while others run."""
    engine, server, _ = dying
    golden, pid = server.golden(), engine.pid
    started = time.monotonic()
    assert _mixed(server, GOLDEN, {**GOLDEN, "prompt": "abc\x02"}) == [golden] * 8
    wait_for(server.quiet)
    assert server.golden() == golden
    assert (engine.pid, engine.alive) == (pid, True)
    saw("that request: 500; the others: the known answer", time.monotonic() - started)


def test_f23_a_kernel_that_exits(dying: Dying, world: World, saw: Saw) -> None:
    """A plugin's kernel calls sys.exit()."""
    engine, server, _ = dying
    bad, pid, started = {**GOLDEN, "prompt": "abc\x04"}, engine.pid, time.monotonic()
    assert server.post(bad).json()["choices"] == world.server.post(bad).json()["choices"]
    assert server.golden() == world.golden
    assert (engine.pid, engine.alive) == (pid, True)
    saw("the known answer, by the op's reference; the engine lives", time.monotonic() - started)


@pytest.mark.parametrize(
    "flags", [("--prefer=acme",), ("--pin=embedding=acme",), ("--prefer=acme", "--strict")], ids=" ".join
)
def test_f23_t24_a_kernel_that_raises_again_and_again(
    flags: tuple[str, ...], world: World, model: Path, saw: Saw, tmp_path: Path
) -> None:
    """A plugin's kernel raises at a certain token, four times."""
    path = os.pathsep.join(filter(None, [str(raising(tmp_path / "site")), os.environ.get("PYTHONPATH")]))
    engine = Engine(tmp_path, model, *flags, env={"PYTHONPATH": path})
    server = Server(tmp_path, engine.address)
    bad = {**GOLDEN, "prompt": "abc\x02"}
    try:
        engine.wait_ready()
        server.wait_ready()
        assert _embedding(server) == ["acme"]
        started = time.monotonic()
        answers = [server.post({**bad, "cache_salt": f"{n}"}) for n in range(4)]
        took = time.monotonic() - started
        assert server.golden() == world.golden
        if flags == ("--prefer=acme",):
            wanted = world.server.post(bad).json()["choices"]
            assert [answer.json()["choices"] for answer in answers] == [wanted] * 4
            wait_for(lambda: _embedding(server) == ["reference"])
            why = _rows(server)[0]["refusals"]["acme"]
            assert why == "raised 3 times, the last time ZeroDivisionError: disabled"
            saw("the known answer each time, by the op's reference, which runs in its place after the third", took)
            said = ["raised at model.embed_tokens: ZeroDivisionError: as told", "has raised 3 times"]
        else:
            assert [answer.status_code for answer in answers] == [500] * 4
            assert _embedding(server) == ["acme"]
            saw(f"{flags[-1].partition('=')[0]} is obeyed: 500 each time, and the known answer to others", took)
            said = ["raised at model.embed_tokens: ZeroDivisionError: as told; the request fails"]
        lines = [line for line in engine.log.read_text().splitlines() if "embedding by back end acme" in line]
        assert [words in line for words, line in zip(said, lines, strict=True)] == [True] * len(said)
        errors = 'kernel_errors_total{kernel="acme",op="embedding"}'
        wait_for(lambda: server.metrics().get(errors, 0) == (3 if flags[-1] == "--prefer=acme" else 4))
    finally:
        server.kill()
        engine.kill()


def _rows(server: Server) -> list[dict[str, Any]]:
    return [row for row in server.get("/v1/ops").json()["data"] if row["op"] == "embedding"]


def _embedding(server: Server) -> list[str]:
    return sorted({row["kernel"] for row in _rows(server)})


@pytest.mark.slow
def test_f23_a_kernel_that_hangs(model: Path, dying: Dying, saw: Saw, tmp_path: Path) -> None:
    """A plugin's kernel never returns (the watchdog set to 3 s)."""
    engine = Engine(tmp_path, model, env=dying[2] | {"HANG_SECONDS": "3"})
    server = Server(tmp_path, engine.address)
    try:
        engine.wait_ready()
        server.wait_ready()
        started = time.monotonic()
        assert server.post({**GOLDEN, "prompt": f"abc{chr(5)}"}).status_code == 503
        assert engine.popen.wait(PATIENCE) == 1
        assert "most recent call first" in engine.log.read_text()
        saw("503; the engine showed where it hangs and ended with exit code 1", time.monotonic() - started)
    finally:
        server.kill()
        engine.kill()
