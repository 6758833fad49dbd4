"""One place for what is kept, whoever keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rustinfer.cache import cache_root, digest, keep


@pytest.mark.parametrize("given", ["~/models", "", None])
def test_a_home_is_a_home_for_kernels_and_models_alike(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    """Of a file of settings, where no shell has put the home in, `~` is no folder's name."""
    monkeypatch.setenv("HOME", "/home/me")
    if given is None:
        monkeypatch.delenv("RUSTINFER_CACHE", raising=False)
    else:
        monkeypatch.setenv("RUSTINFER_CACHE", given)
    assert cache_root() == Path("/home/me/models" if given else "/home/me/.cache/rustinfer")


def test_what_is_kept_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    keep(tmp_path / "new" / "a", b"first")
    keep(tmp_path / "new" / "a", b"second")
    assert (tmp_path / "new" / "a").read_bytes() == b"second"
    (tmp_path / "new" / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        keep(tmp_path / "new" / "taken", b"third")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "taken"]


def test_a_digest_tells_names_contents_and_words_apart(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    a, b, c = (tmp_path / name for name in "abc")
    asked = (([a], "w"), ([b], "w"), ([c], "w"), ([a, b], "w"), ([a], "v"), ([a], "w", ""), ([], "w"))
    assert len({digest(files, *words) for files, *words in asked}) == len(asked)
    assert digest([b, a], "w") == digest([a, b], "w")
