"""Rules about the repository itself, each of them checked and not only written down."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from rustinfer import __version__
from rustinfer.cli.commands import VERBS
from rustinfer.registry import load_plugins

from .conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "rustinfer"
PYTHON = sorted(PACKAGE.rglob("*.py"))
TARGETS = (
    "setup",
    "serve",
    "test",
    "check",
    "fmt",
    "bench",
    "test-gpu",
    "bench-gpu",
    "test-clients",
    "plugins",
    "help",
)
MOST_DEPENDENCIES = 20
LONGEST_FILE = 400


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_few_direct_dependencies() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    assert len(dependencies) <= MOST_DEPENDENCIES
    assert "torch>=2.11" in dependencies


def test_every_direct_dependency_is_pinned_and_no_other() -> None:
    def key(requirement: str) -> str:
        return re.split(r"[<>=;\[ ]", requirement)[0].lower().replace("_", "-")

    extras = PROJECT["project"]["optional-dependencies"]
    named = {key(r) for r in PROJECT["project"]["dependencies"] + extras["dev"]}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+(; python_version .+)?", pin) for pin in pins)
    assert {key(pin) for pin in pins} == named
    assert "torch==2.13.0" in pins


def test_files_that_are_no_python_are_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["rustinfer"]
    for path in PACKAGE.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            inside = path.relative_to(PACKAGE).as_posix()
            assert any(fnmatch(inside, pattern.replace("**/", "*")) for pattern in patterns), inside


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["serve", "test", "bench"])
def test_make_prepares_what_it_needs(target: str, tmp_path: Path) -> None:
    command = ["make", "--dry-run", target, f"VENV={tmp_path / 'new'}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"-m venv {tmp_path / 'new'}" in shown
    assert "constraints.txt --editable" in shown


def test_make_serve_takes_its_settings() -> None:
    command = ["make", "--dry-run", "serve", "MODEL=some.gguf", "PORT=9", "HOST=::1"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "rustinfer serve some.gguf --port 9 --host ::1" in shown


def test_make_says_what_is_missing_without_python(tmp_path: Path) -> None:
    command = ["make", "setup", f"VENV={tmp_path / 'new'}", "PYTHON="]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "error: no Python of 3.11 or newer" in done.stderr


def test_ci_is_a_script_that_parses() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], timeout=60, check=True)


def test_licence_and_changelog() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert PROJECT["project"]["license"] == "Apache-2.0"
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


def test_every_file_says_what_it_is() -> None:
    for path in PYTHON:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{relative(path)}: no docstring"
        if any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body):
            first = next(node for node in tree.body if isinstance(node, ast.ImportFrom))
            assert first.module == "__future__", f"{relative(path)}: no `from __future__ import annotations`"


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in PYTHON}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert sorted(lengths.values())[len(lengths) // 2] <= 120


def test_the_page_is_written_in_lines_of_the_same_length() -> None:
    long = [f"{relative(path)}:{n}" for path in PACKAGE.rglob("*.js") for n, line in _long_lines(path)]
    assert not long


def _long_lines(path: Path) -> list[tuple[int, str]]:
    return [(n, line) for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]


def test_no_leftovers() -> None:
    word = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    for path in [*PYTHON, *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/*.py")]:
        found = word.search(path.read_text())
        assert found is None, f"{relative(path)}: {found}"


def test_no_package_index_is_named() -> None:
    word = re.compile("--(extra-)?index" + "-url|--find" + "-links")
    for path in (ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "constraints.txt", ROOT / "README.md"):
        assert word.search(path.read_text()) is None, relative(path)


def test_every_verb_is_documented() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert all(verb in text for verb in VERBS)


def test_every_built_in_plugin_loads() -> None:
    plugins = load_plugins(strict=True)
    assert set(PROJECT["project"]["entry-points"]["rustinfer"]) <= {record.name for record in plugins.records}
