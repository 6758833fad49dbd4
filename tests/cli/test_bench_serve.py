"""`bench serve` on a small server, and `bench serve` and `bench startup` once on a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rustinfer.bytecode import lost
from rustinfer.cli import bench_serve
from rustinfer.cli import main as cli
from rustinfer.cli.spawned import Spawned
from rustinfer.errors import UserError

from ..engine.tiny import save
from ..test_supervisor import PATIENCE, alive, descendants, wait_for
from .answers import Answers, events, models


@pytest.fixture
def url(server: Answers) -> str:
    server.by_path["/v1/models"] = models("one")
    server.by_path["/v1/completions"] = events({"choices": [{"text": "a"}]}, {"choices": [{"text": "b"}]})
    return server.url


def test_levels_of_clients_on_two_servers(
    url: str, server: Answers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["bench", "serve", "--url", f"a={url}", "--url", f"b={url}", "--clients", "1,2", "--num-prompts", "3"]
    files = ["--output", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.svg")]
    assert cli.main([*argv, "--num-iters", "3", "--json", *files, "--extra-body", '{"top_k": 5}']) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(row["server"], row["clients"]) for row in shown["levels"]] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [row["output_tokens"] for row in shown["levels"]] == [6] * 4
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["levels"] == shown["levels"]
    assert {"command", "machine", "rustinfer"} <= written.keys()
    assert (tmp_path / "r.svg").read_text().count("<polyline") == 2
    assert {body.get("top_k") for _, _, body in server.seen if body} == {5}
    prompts = [body["prompt"] for path, _, body in server.seen if path.endswith("completions")]
    # Two that warm up; each level and round has its own three, the same on both servers.
    assert len(set(prompts)) == 2 + 3 * 3 * 2


def test_poisson_arrivals_are_the_default(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "serve", "--url", url, "--num-prompts", "2", "--workload", "mixed"]
    assert cli.main([*argv, "--request-rate", "50,100", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["request_rate"] for row in shown["levels"]] == [50, 100]
    assert bench_serve.levels_of(cli_args("--num-prompts", "2")) == [("request_rate", 4.0)]
    assert cli.main([*argv, "--request-rate", "50"]) == 0
    assert "50 requests/s" in capsys.readouterr().out


def test_the_table_has_the_ratios_and_the_share_that_was_cached(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "serve", "--url", f"a={url}", "--url", f"b={url}", "--clients", "1,2", "--num-prompts", "2"]
    assert cli.main(argv) == 0
    head = capsys.readouterr().out
    assert all(column in head for column in ("x first level", "x a", "x b", "cached", "0%"))


def cli_args(*argv: str) -> Any:
    from rustinfer.cli.bench import configure
    from rustinfer.cli.parser import Parser

    parser = Parser()
    configure(parser)
    return parser.parse_args(["serve", *argv])


def test_failures_are_the_exit_code(url: str, server: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    server.by_path["/v1/completions"] = (500, "{}")
    assert cli.main(["bench", "serve", "--url", url, "--clients", "1", "--num-prompts", "2"]) == 1
    assert "1 clients" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--clients", "1", "--request-rate", "2"], "two kinds of load"),
        (["--clients", "0"], "--clients"),
        (["--request-rate", "0"], "--request-rate"),
        (["--workload", "odd"], "--workload"),
        (["--extra-body", "[]"], "--extra-body"),
    ],
)
def test_mistakes_are_one_line(url: str, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "serve", "--url", url, *flags]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_servers_have_names() -> None:
    assert bench_serve.named("a=http://h:1") == ("a", "http://h:1")
    assert bench_serve.named("http://h:1/?x=y") == ("http://h:1/?x=y", "http://h:1/?x=y")


def test_the_client_does_not_import_torch() -> None:
    modules = ", ".join(f"rustinfer.cli.bench{name}" for name in ("", "_serve", "_startup"))
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the server did not start: .*missing"):
        Spawned(str(tmp_path / "missing"))


def test_start_up_memory_and_recovery_of_a_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save(tmp_path / "tiny"))
    assert cli.main(["bench", "startup", model, "--num-iters", "1", "--threads", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert ("missing" in result["bytecode"]) == (lost("torch") is not None)
    found = result["median"]
    assert 0 < found["ready, s"] < found["start to first token, s"]
    assert found["engine memory, MB"] > 100
    assert 0 < found["engine: import, s"] < found["ready, s"]
    assert {"engine: bind, s", "engine: warm-up, s"} <= found.keys()
    assert found["kill -9 of the engine to the next answer, s"] > 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, and only Linux ends a child whose parent was killed")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("when", ["it starts", "it is under load"])
def test_its_server_ends_with_it(when: str, number: int, tmp_path: Path) -> None:
    model, log = str(save(tmp_path / "tiny")), tmp_path / "log"
    load = ["--clients", "4", "--num-prompts", "100000", "--threads", "1"]
    with log.open("w") as out:
        command = [sys.executable, "-m", "rustinfer.cli", "bench", "serve", model, *load]
        bench = subprocess.Popen(command, stdout=out, stderr=out)
    family: list[int] = []
    threads = 1 if when == "it starts" else 5  # the clients are threads

    def reached() -> bool:
        family[:] = descendants(bench.pid)
        return len(family) >= 3 and len(list(Path(f"/proc/{bench.pid}/task").iterdir())) >= threads

    try:
        wait_for(lambda: reached() or bench.poll() is not None)
        assert len(family) >= 3, log.read_text()  # `rustinfer serve`, its engine and its server
        bench.send_signal(number)
        assert bench.wait(PATIENCE) == -number
        wait_for(lambda: not any(map(alive, family)))
    finally:
        bench.kill()
        bench.wait()
        for pid in filter(alive, family):
            os.kill(pid, signal.SIGKILL)
