"""One line in the log every ten seconds of work, none of idleness."""

from __future__ import annotations

import pytest

from rustinfer.engine.report import Report

from .fakes import engine, request


def test_a_line_while_busy_and_silence_while_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="rustinfer.engine")
    now = 0.0
    e, report = engine(), Report(lambda: now)
    e.add(request("a", range(1, 17), max_tokens=5, ignore_eos=True))
    for _ in range(3):
        e.step()
    report.maybe(e)
    assert not caplog.messages
    now = 10.0
    report.maybe(e)
    assert caplog.messages == [
        "1 running, 0 waiting, cache 8 % used, 2 prompt and 0 output tokens/s, 0 % cached",
    ]
    now = 15.0
    report.maybe(e)
    now = 20.0
    report.maybe(e)
    assert len(caplog.messages) == 1
    e.add(request("b", range(1, 17), max_tokens=5, ignore_eos=True))
    while e.has_work:
        e.step()
    now = 30.0
    report.maybe(e)
    assert caplog.messages[1] == "0 running, 0 waiting, cache 0 % used, 0 prompt and 1 output tokens/s, 75 % cached"
