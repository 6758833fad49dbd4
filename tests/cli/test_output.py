"""What the command line prints beside its answers."""

from __future__ import annotations

import sys

import pytest

from rustinfer.cli.output import loading


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
