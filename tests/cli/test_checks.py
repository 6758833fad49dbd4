"""`rustinfer doctor`: each check finds what is there, and what is not."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rustinfer import bytecode
from rustinfer.cli import checks, doctor, plugins
from rustinfer.cli import main as cli
from rustinfer.cli.checks import Finding
from rustinfer.registry import PluginRecord


def test_all_of_them_say_something() -> None:
    found = checks.all_checks(0)
    names = [finding.what for finding in found]
    for name in (
        "python",
        "torch",
        "bytecode",
        "cores",
        "cpu",
        "compiler",
        "gpu",
        "cache",
        "models",
        "plugins",
        "environment",
        "port 0",
    ):
        assert name in names
    assert all(finding.state in doctor.STYLES and finding.found for finding in found)


@pytest.mark.parametrize(("version", "state"), [("2.10.1", "fail"), ("2.11.0+cpu", "ok"), ("3.0.0a0+git1", "ok")])
def test_torch_has_a_lowest_version(version: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version))
    assert checks.torch_found().state == state


def test_torch_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = checks.torch_found()
    assert (found.state, found.advice) == ("fail", "install torch 2.11 or newer")
    assert (checks.gpu().state, checks.gpu().found) == ("warn", "unknown: torch cannot be imported")


@pytest.mark.parametrize("forbidden", [False, True])
def test_torch_without_bytecode_is_a_warning_where_python_may_keep_none(
    forbidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", forbidden)
    monkeypatch.setattr(bytecode, "missed", lambda package: Path("/site/torch"))
    found = checks.compiled()
    assert found.state == ("warn" if forbidden else "ok")
    assert ("compileall -q /site" in found.advice, "PYTHONDONTWRITEBYTECODE" in found.found) == (forbidden, forbidden)
    monkeypatch.setattr(bytecode, "missed", lambda package: None)
    assert checks.compiled().state == "ok"


@pytest.mark.parametrize(("flags", "state"), [("sse avx2 avx512f", "ok"), ("sse", "warn")])
def test_the_processors_flags(flags: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.platform, "machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    cores, cpu = checks.processor(tmp_path / "cpuinfo")
    assert "physical" in cores.found
    assert cpu.state == state


def test_a_variable_that_no_server_would_start_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RUSTINFER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUSTINFER_PORT", "9000")
    assert checks.environment() == Finding("ok", "environment", "RUSTINFER_PORT")
    monkeypatch.setenv("RUSTINFER_PROT", "9000")
    found = checks.environment()
    assert (found.state, "RUSTINFER_PROT" in found.found) == ("fail", True)


def test_a_missing_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert checks.compiler().state == "warn"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == "mycxx" else None)
    monkeypatch.setenv("CXX", "mycxx")
    assert checks.compiler() == Finding("ok", "compiler", "/bin/mycxx")


def test_a_driver_without_a_build_of_torch_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/nvidia-smi")
    assert checks.gpu().state == "warn"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert checks.gpu().state == "ok"


def test_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "deep" / "cache"))
    assert checks.cache().state in ("ok", "warn")
    assert checks.models().found.startswith("none yet")
    (tmp_path / "deep" / "cache").mkdir(parents=True)
    (tmp_path / "deep" / "cache" / "some.gguf").touch()
    assert checks.models().found == "some.gguf"
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)
    assert checks.cache().state == "fail"
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert checks.cache().state == "warn"


def test_a_port_in_use_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert checks.free_port(port).state == "warn"
    assert checks.free_port(70000).state == "warn"
    assert checks.free_port(0).state == "ok"


def test_plugins_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        PluginRecord("ops", "rustinfer.ops", "rustinfer"),
        PluginRecord("cpu", "rustinfer.backends.cpu", "rustinfer", state="failed", error="boom"),
        PluginRecord("acme", "acme", "acme-kernels", state="failed", error="bang"),
    ]
    monkeypatch.setattr(plugins, "collect", lambda: records)
    loaded, own, theirs = checks.plugins()
    assert loaded.found == "ops"
    assert (own.state, own.found) == ("fail", "boom")
    assert (theirs.state, theirs.advice) == ("warn", "update or remove acme-kernels")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_exit_code(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "all_checks", lambda port: [Finding(state, "thing", "[here]", "do this")])
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().out == f"{state:<5}thing: [here] - do this\n"
    assert cli.main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [
        {"state": state, "what": "thing", "found": "[here]", "advice": "do this"}
    ]
