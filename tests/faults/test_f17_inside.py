"""What goes wrong inside the engine: numbers, memory, plugins that raise, exit or hang. F17, F18, F23."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Saw

from .conftest import World
from .model import POISON
from .plugins import site
from .streams import streams
from .world import GOLDEN, Engine, Process, Server, wait_for


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
    saw("named in the log with their reasons; requests were answered", None)
    strict = Process(
        tmp_path / "log", "-m", "rustinfer.engine.main", str(model), env=env | {"RUSTINFER_STRICT_PLUGINS": "1"}
    )
    assert strict.popen.wait(60) not in (0, None)
    assert "Traceback" not in strict.log.read_text()
    saw("with RUSTINFER_STRICT_PLUGINS: the engine does not start, and says which one in one line", None)


@pytest.mark.parametrize("token", [2, 3], ids=["MemoryError", "ZeroDivisionError"])
def test_f18_f23_t24_a_kernel_that_raises(dying: Dying, saw: Saw, token: int) -> None:
    """A plugin's kernel raises for one request while others run."""
    engine, server, _ = dying
    golden, pid = server.golden(), engine.pid
    bad = {**GOLDEN, "prompt": f"abc{chr(token)}"}
    started = time.monotonic()
    assert _mixed(server, GOLDEN, bad) == [golden] * 8
    wait_for(server.quiet, 2.5)
    assert server.golden() == golden
    assert (engine.pid, engine.alive) == (pid, True)
    saw("that request: 500; the others: the known answer", time.monotonic() - started)


def test_f23_a_kernel_that_exits(dying: Dying, saw: Saw) -> None:
    """A plugin's kernel calls sys.exit()."""
    engine, server, _ = dying
    started = time.monotonic()
    answer = server.post({**GOLDEN, "prompt": f"abc{chr(4)}"})
    assert answer.status_code == 503
    assert engine.popen.wait(5) == 1
    assert "error: the engine stopped: SystemExit" in engine.log.read_text()
    saw(
        "503; the engine ended with exit code 1 and one line",
        time.monotonic() - started,
    )


@pytest.mark.slow
def test_f23_a_kernel_that_hangs(model: Path, dying: Dying, saw: Saw, tmp_path: Path) -> None:
    """A plugin's kernel never returns (the watchdog set to 3 s)."""
    engine = Engine(tmp_path, model, env=dying[2])
    server = Server(tmp_path, engine.address)
    try:
        engine.wait_ready()
        server.wait_ready()
        started = time.monotonic()
        assert server.post({**GOLDEN, "prompt": f"abc{chr(5)}"}).status_code == 503
        assert engine.popen.wait(5) == 1
        assert "most recent call first" in engine.log.read_text()
        saw("503; the engine showed where it hangs and ended with exit code 1", time.monotonic() - started)
    finally:
        server.kill()
        engine.kill()
