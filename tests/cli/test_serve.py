"""`rustinfer serve` and `rustinfer pull`: what is settled before a process is started."""

from __future__ import annotations

import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from rustinfer import supervisor
from rustinfer.cli import main as cli


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(supervisor, "serve", lambda args: seen.append(args) or 0)
    return seen


@pytest.mark.parametrize(
    ("argv", "model"),
    [([], "smollm2"), (["a"], "a"), (["--model", "b"], "b"), (["--model=b", "b"], "b")],
)
def test_the_model(argv: list[str], model: str, served: list[Namespace]) -> None:
    assert cli.main(["serve", *argv]) == 0
    assert served[0].model == model


def test_flags_reach_both_processes(served: list[Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/somewhere")
    argv = ["serve", "m", "--port=9", "--api_key", "k1", "--api-key", "k2", "--max_model_len", "64", "--pin", "a=b"]
    assert cli.main(argv) == 0
    flags = supervisor.server_flags(served[0])
    assert "--port=9" in flags
    assert not [flag for flag in flags if "k1" in flag or "--max-model-len" in flag]
    environment = supervisor.environment(served[0], keys=True)
    assert (environment["RUSTINFER_API_KEY"], environment["PATH"]) == ("k1,k2", "/somewhere")
    common = {"--log-level=info", "--log-format=text"}
    assert set(supervisor.engine_flags(served[0])) == {"--max-model-len=64", "--pin=a=b"} | common


def test_flags_come_from_a_file_too(served: list[Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('model = "m"\nport = 9\nmax-model-len = 64\napi-key = ["k1", "k2"]\n')
    monkeypatch.setenv("RUSTINFER_PORT", "8")
    assert cli.main(["serve", "--config", str(file), "--max-model-len=32"]) == 0
    args = served[0]
    assert (args.model, args.port, args.max_model_len, args.api_key) == ("m", 8, 32, ["k1", "k2"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["a", "--model", "b"], "two models are named, a and b"),
        (["--pin", "x"], "--pin x: write OP=BACKEND"),
        (["--dtype", "int4"], "invalid choice: 'int4'"),
        (["--port", "x"], "--port: 'x' is not a port, a whole number from 0 to 65535"),
    ],
)
def test_mistakes_start_nothing(
    argv: list[str], message: str, served: list[Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *argv]) == 2
    assert message in capsys.readouterr().err
    assert not served


def test_a_port_in_use_ends_it_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "rustinfer.cli", "serve", "smollm2", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (2, 3)
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")], done.stderr
    assert "Traceback" not in done.stderr


def test_pull_finds_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.gguf"
    file.touch()
    assert cli.main(["pull", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert cli.main(["pull", "nope"]) == 2
    assert capsys.readouterr().err.startswith("error: 'nope' is no model")
