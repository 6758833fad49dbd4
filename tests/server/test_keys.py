"""API keys: where they come from, and that they can be exchanged while the server runs. T8."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from rustinfer.errors import UserError
from rustinfer.server.keys import Keys

from .conftest import wait_for
from .fake_engine import FakeEngine
from .lifecycle import Process


def test_t8_odd_keys_raise_nothing() -> None:
    keys = Keys(["one", "ключ"])
    assert keys.find(b"one") is not None
    assert keys.find("ключ".encode()) not in (None, keys.find(b"one"))
    for wrong in (b"", b"on", b"one ", b"\xff\xfe", b"\0", b"x" * 100_000):
        assert keys.find(wrong) is None
    assert "ключ" not in str(vars(keys))
    assert not Keys()


def test_a_file_of_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    with pytest.raises(UserError, match="cannot be read"):
        Keys([], file)
    file.write_text("# ours\n\n")
    with pytest.raises(UserError, match="holds none"):
        Keys([], file)
    file.write_text("# ours\nfirst\n second \n")
    keys = Keys(["given"], file)
    assert all(keys.find(key) for key in (b"given", b"first", b"second"))
    file.write_text("third\n")
    keys.reload()
    assert keys.find(b"third")
    assert keys.find(b"given")
    assert not keys.find(b"first")
    file.unlink()
    keys.reload()
    assert keys.find(b"third")
    assert "stay as they were" in caplog.text


def test_sighup_reads_the_keys_again(own_address: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n")
    server = Process(own_address, f"--api-key-file={file}")
    with FakeEngine(own_address):
        url = server.ready()

        def status(key: str) -> int:
            return httpx.get(f"{url}/v1/models", headers={"x-api-key": key}, timeout=60).status_code

        assert (status("old"), status("new")) == (200, 401)
        file.write_text("new\n")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: status("new") == 200)
        assert status("old") == 401
    server.process.terminate()
    assert server.process.wait(60) == 0
