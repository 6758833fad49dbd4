"""One place for what is kept, whoever keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustinfer.cache import cache_root


@pytest.mark.parametrize("given", ["~/models", "", None])
def test_a_home_is_a_home_for_kernels_and_models_alike(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    """Of a file of settings, where no shell has put the home in, `~` is no folder's name."""
    monkeypatch.setenv("HOME", "/home/me")
    if given is None:
        monkeypatch.delenv("RUSTINFER_CACHE", raising=False)
    else:
        monkeypatch.setenv("RUSTINFER_CACHE", given)
    assert cache_root() == Path("/home/me/models" if given else "/home/me/.cache/rustinfer")
