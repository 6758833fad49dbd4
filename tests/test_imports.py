"""Who may import whom, and what stays free of torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH_FREE = (
    "rustinfer",
    "rustinfer.errors",
    "rustinfer.text",
    "rustinfer.protocol",
    "rustinfer.protocol.sampling",
    "rustinfer.server.main",
    "rustinfer.supervisor",
    "rustinfer.engine.options",
    "rustinfer.cli.main",
    "rustinfer.cli.serve",
    "rustinfer.cli.chat",
    "rustinfer.cli.client",
    "rustinfer.cli.doctor",
    "rustinfer.testing.plugin",
)


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_imported(module: str) -> None:
    assert "torch" not in loaded_by(module)


def test_the_check_above_can_see_torch() -> None:
    assert "torch" in loaded_by("rustinfer.registry")


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", str(config), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_arrows_hold() -> None:
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


def test_a_forbidden_arrow_is_noticed(tmp_path: Path) -> None:
    config = tmp_path / "pyproject.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "rustinfer"\n[[tool.importlinter.contracts]]\nname = "turned round"\n'
        'type = "forbidden"\nsource_modules = ["rustinfer.ops"]\nforbidden_modules = ["rustinfer.registry"]\n'
    )
    done = lint(config)
    assert done.returncode == 1
    assert "rustinfer.ops" in done.stdout


def test_every_entry_point_can_be_imported() -> None:
    points = distribution("rustinfer").entry_points
    ours = {"rustinfer", "rustinfer.tool_formats", "rustinfer.reasoning_formats"}
    assert {point.group for point in points} == {"console_scripts", "pytest11", *ours}
    for point in points:
        point.load()
