from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .site import install


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of plugins/, installed by pip."""
    return install(tmp_path_factory.mktemp("plugins") / "site", "template", "rustinfer-numba", "rustinfer-qwen3")


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same packages, importable in this process for the length of one test."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("RUSTINFER_STRICT_PLUGINS", "1")
    return site
