"""What the command line prints beside its answers."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rustinfer.cli.output import Unwritten, loading, write


@pytest.mark.parametrize("tty", [True, False])
def test_loading_is_told_at_a_terminal_only_and_leaves_nothing(
    tty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty)
    with loading("acme"):
        during = capsys.readouterr().err
    assert during == ("Loading acme\r" if tty else "")
    assert capsys.readouterr().err == ("\x1b[2K\r" if tty else "")
    with pytest.raises(ValueError, match="no"), loading("acme"):
        raise ValueError("no")
    assert capsys.readouterr().err.endswith("\x1b[2K\r" if tty else "")


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of this process get no longer than four bytes."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


def test_a_file_is_written_whole_or_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "it.json"
    write(str(file), "the first")
    with full_disk(), pytest.raises(Unwritten, match=r"it\.json could not be written: File too large") as error:
        write(str(file), "the second")
    assert "\n" not in str(error.value)
    assert (file.read_text(), list(tmp_path.iterdir())) == ("the first", [file])
    link = tmp_path / "link"
    link.symlink_to(file)
    write(str(link), "the third")
    assert (link.is_symlink(), file.read_text()) == (True, "the third")


def test_a_device_is_no_file_to_be_replaced() -> None:
    write("/dev/null", "anything")
    with pytest.raises(Unwritten, match="/dev/full could not be written: No space left on device"):
        write("/dev/full", "anything")
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()
