"""Each package of plugins/ as its users get it: installed by pip, found by its entry point."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from .site import PLUGINS, python

ADDS = {"acme": ["back end acme"], "numba": ["back end numba"], "qwen3": ["model Qwen3ForCausalLM"]}


def test_the_command_line_lists_what_pip_installed(site: Path) -> None:
    shown = python(site, "-m", "rustinfer.cli", "plugins", "--json")
    assert shown.returncode == 0, shown.stderr
    rows = {row["name"]: row for row in json.loads(shown.stdout) if row["distribution"] != "rustinfer"}
    assert {name: row["provides"] for name, row in rows.items()} == ADDS
    assert {row["state"] for row in rows.values()} == {"loaded"}
    assert rows["numba"]["distribution"] == "rustinfer-numba"
    assert rows["numba"]["version"] == "0.1.0"


def test_loading_the_plugins_imports_no_library_of_theirs(site: Path) -> None:
    load = "from rustinfer.registry import load_plugins; load_plugins(strict=True)"
    run = python(site, "-c", f"import sys; {load}; print('rustinfer_numba' in sys.modules, 'numba' in sys.modules)")
    assert run.stdout == "True False\n"


def run_the_templates_test(site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """pytest, as the template's README says to run it, in a folder that holds its test and settings but no module."""
    for name in ("test_acme.py", "pyproject.toml"):
        shutil.copy(PLUGINS / "template" / name, folder)
    return python(site, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder / "test_acme.py"), PYTEST_ADDOPTS="")


def test_the_template_tests_itself(site: Path, tmp_path: Path) -> None:
    run = run_the_templates_test(site, tmp_path)
    assert run.returncode == 0, run.stdout
    assert "passed" in run.stdout
    assert "skipped" not in run.stdout


def test_the_templates_test_fails_with_its_kernel(site: Path, tmp_path: Path) -> None:
    module = (PLUGINS / "template" / "rustinfer_acme.py").read_text()
    wrong = module.replace("weight.shape, weight, eps)", "weight.shape, weight, 0.0)")
    assert wrong != module
    (tmp_path / "rustinfer_acme.py").write_text(wrong)  # found before the installed one, since the test lies beside it
    run = run_the_templates_test(site, tmp_path)
    assert run.returncode == 1, run.stdout
    assert "acme's rms_norm on" in run.stdout


@pytest.mark.parametrize("folder", sorted(path.name for path in PLUGINS.iterdir() if path.is_dir()))
def test_packages_ask_for_this_rustinfer_and_no_later_one(folder: str) -> None:
    project = tomllib.loads((PLUGINS / folder / "pyproject.toml").read_text())["project"]
    assert "rustinfer>=0.1,<0.2" in project["dependencies"]
