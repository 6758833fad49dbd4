"""Plugins that cannot be used, installed side by side with one that can: each is named, and none stops the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rustinfer.registry import load_plugins

from ..engine.tiny import save
from .site import ROOT, python, write

BACKEND = """
from rustinfer import Backend, Requires, hookimpl

@hookimpl
def rustinfer_backends():
    return [Backend({name!r}, requires=Requires("cpu"))]
"""
GOOD = BACKEND.format(name="a_good")
OP = """
from rustinfer import hookimpl, op

@op()
def rms_norm(x, *, weight, eps):
    "Another one."
    return x

@hookimpl
def rustinfer_ops():
    return [rms_norm]
"""
MODEL = """
from rustinfer import hookimpl

@hookimpl
def rustinfer_models():
    return {"LlamaForCausalLM": dict}
"""
TYPO = """
from rustinfer import hookimpl

@hookimpl
def rustinfer_backend():
    return []
"""
KERNEL = """
from rustinfer import Backend, Requires, hookimpl, ops

late = Backend("late", requires=Requires("cpu"))

@late.kernel(ops.rms_norm)
def rms_norm(x, *, weight, epsilon):
    return x
"""
PLUGINS = {
    "a_good": GOOD,
    "b_raises": "import a_library_that_is_not_installed",
    "c_back_end": BACKEND.format(name="a_good"),
    "d_op": OP,
    "e_model": MODEL,
    "f_typo": TYPO,
    "g_version": "API_VERSION = 99" + GOOD.replace("a_good", "g_version"),
    "h_hook": GOOD.replace("a_good", "h_hook").replace("return", "1 / 0\n    return"),
    "i_kernel": KERNEL,
    "j_syntax": "def broken(:",
    "k_good": BACKEND.format(name="k_good"),
}
ERRORS = {
    "b_raises": "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'",
    "c_back_end": "DefinitionError: back end a_good is defined twice: by a_good and by c_back_end",
    "d_op": "DefinitionError: op rms_norm is defined twice: by ops and by d_op",
    "e_model": "DefinitionError: model LlamaForCausalLM is defined twice: by models and by e_model",
    "f_typo": "rustinfer_backend",
    "g_version": "DefinitionError: it was written for plugin API 99, this rustinfer has 1",
    "h_hook": "ZeroDivisionError: division by zero",
    "i_kernel": "does not match op rms_norm(",
    "j_syntax": "SyntaxError: ",
}


FORMATS = {"y_missing": "import a_library_that_is_not_installed", "z_module": ""}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, installed."""
    site = tmp_path_factory.mktemp("broken")
    for name, code in PLUGINS.items():
        write(site, name, code)
    for name, code in FORMATS.items():
        write(site, name, code, "rustinfer.tool_formats")
    return site


@pytest.fixture(scope="module")
def rows(broken: Path) -> dict[str, dict[str, Any]]:
    """What `rustinfer plugins` says of each."""
    shown = python(broken, "-m", "rustinfer.cli", "plugins", "--json")
    assert shown.returncode == 0, shown.stderr
    return {row["name"]: row for row in json.loads(shown.stdout)}


@pytest.mark.parametrize("name", ERRORS)
def test_a_plugin_that_cannot_be_used_is_named_with_its_error(rows: dict[str, dict[str, Any]], name: str) -> None:
    assert rows[name]["state"] == "failed"
    assert ERRORS[name] in rows[name]["error"]
    assert rows[name]["distribution"] == name
    assert rows[name]["provides"] == []


def test_the_others_load(rows: dict[str, dict[str, Any]]) -> None:
    assert rows.keys() >= {"ops", "cpu", "models", *PLUGINS}
    loaded = {name for name in PLUGINS if rows[name]["state"] == "loaded"}
    assert loaded == {"a_good", "k_good"}
    assert rows["k_good"]["provides"] == ["back end k_good"]


def test_formats_of_the_server_are_listed_too(rows: dict[str, dict[str, Any]], broken: Path) -> None:
    assert rows["hermes"]["provides"] == ["tool format hermes"]
    assert rows["think"]["provides"] == ["reasoning format think"]
    assert (rows["y_missing"]["state"], rows["y_missing"]["distribution"]) == ("failed", "y_missing")
    assert "No module named 'a_library_that_is_not_installed'" in rows["y_missing"]["error"]
    assert "it is not a rustinfer.server.tools.format.ToolFormat" in rows["z_module"]["error"]
    shown = python(broken, "-m", "rustinfer.cli", "plugins", "--json", RUSTINFER_DISABLE_PLUGINS="hermes,z_module")
    states = {row["name"]: row["state"] for row in json.loads(shown.stdout)}
    assert (states["hermes"], states["z_module"], states["y_missing"]) == ("disabled", "disabled", "failed")
    assert "no such plugin" not in shown.stderr


def test_the_table_names_every_one(broken: Path) -> None:
    shown = python(broken, "-m", "rustinfer.cli", "plugins", COLUMNS="400")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in PLUGINS)
    assert "No module named 'a_library_that_is_not_installed'" in shown.stdout


def test_each_failure_is_one_line_of_the_log(broken: Path) -> None:
    code = "import logging; logging.basicConfig(); from rustinfer.registry import load_plugins; load_plugins()"
    lines = python(broken, "-c", code).stderr.splitlines()
    assert [line for line in lines if not line.startswith("ERROR:rustinfer.")] == []
    assert [name for name in ERRORS if f"plugin {name} ({name}) failed to load" not in "\n".join(lines)] == []
    assert len(lines) == len(ERRORS)


def test_the_command_line_answers_beside_them(broken: Path) -> None:
    version = python(broken, "-m", "rustinfer.cli", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    ops = python(broken, "-m", "rustinfer.cli", "ops", "list", "--json")
    assert ops.returncode == 0, ops.stderr
    assert "rms_norm" in ops.stdout


def test_disabled_plugins_are_not_imported(broken: Path) -> None:
    shown = python(broken, "-m", "rustinfer.cli", "plugins", "--json", RUSTINFER_DISABLE_PLUGINS="b_raises,a_good")
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert (rows["b_raises"]["state"], rows["b_raises"]["error"]) == ("disabled", "")
    assert rows["a_good"]["state"] == "disabled"
    # With the first owner of the name out of the way, the second has it.
    assert rows["c_back_end"]["provides"] == ["back end a_good"]


def test_disabling_what_is_not_installed_is_said(
    broken: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(broken)
    monkeypatch.setenv("RUSTINFER_DISABLE_PLUGINS", ",".join((*ERRORS, "no_such_plugin")))
    loaded = load_plugins(strict=True)
    assert loaded.failures() == []
    assert "RUSTINFER_DISABLE_PLUGINS names no_such_plugin, but no such plugin is installed" in caplog.text


def test_strict_makes_the_first_failure_an_error(broken: Path) -> None:
    code = "from rustinfer.registry import load_plugins; load_plugins()"
    run = python(broken, "-c", code, RUSTINFER_STRICT_PLUGINS="1")
    assert run.returncode != 0
    assert "a_library_that_is_not_installed" in run.stderr
    others = ",".join(ERRORS)
    assert python(broken, "-c", code, RUSTINFER_STRICT_PLUGINS="1", RUSTINFER_DISABLE_PLUGINS=others).returncode == 0


RAISING = """
from rustinfer import Backend, Requires, hookimpl, ops

acme = Backend("acme", requires=Requires("cpu"))

@acme.kernel(ops.linear)
def linear(x, *, weight, bias=None):
    raise OSError("/secret/place")

@hookimpl
def rustinfer_backends():
    return [acme]
"""


def test_why_a_kernel_that_raises_runs_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "site", "a_raising", RAISING)
    command = ["-m", "rustinfer.cli", "ops", "why", str(save(tmp_path / "tiny")), "--op=linear", "--json"]
    done = python(tmp_path / "site", *command, "--prefer=acme", "--device=cpu", PYTHONPATH=f"{tmp_path}/site:{ROOT}")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["kernel"] for row in rows} == {"reference"}
    assert {row["refusals"]["acme"] for row in rows} == {"raised 3 times, the last time OSError: disabled"}
