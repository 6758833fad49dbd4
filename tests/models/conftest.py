"""A checkpoint that works, and a copy of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rustinfer.cli import main as cli

from . import directories


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that works, from which the others are made. Loading it once loads what is common to all."""
    path = directories.write(tmp_path_factory.mktemp("good") / "m", shards=2)
    assert cli.main(["complete", str(path), "a", "--max-tokens", "1"]) == 0
    return path


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "hostile"))
