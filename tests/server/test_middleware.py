"""Plugins that requests pass through: only those asked for, behind the keys; and the log of requests."""

from __future__ import annotations

import json
import logging
from importlib.metadata import EntryPoint
from typing import Any

import httpx
import pytest

from rustinfer.errors import UserError
from rustinfer.logs import Json, Text
from rustinfer.server import middleware
from tests.conftest import Saw

from .conftest import live
from .fake_engine import FakeEngine


class Marked:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-marked", b"yes")]
            await send(message)

        await self._app(scope, receive, send_on)


POINT = EntryPoint("marked", f"{__name__}:Marked", middleware.GROUP)
BROKEN = EntryPoint("broken", "nowhere_at_all:X", middleware.GROUP)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    found = [POINT, BROKEN]
    monkeypatch.setattr(middleware, "entry_points", lambda group: found)
    return found


def test_it_is_used_where_asked_for_and_behind_the_keys(
    address: str, engine: FakeEngine, installed: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "_load", lambda name, found: Marked)
    with live(address, middleware=("marked",), api_key=("k",)) as server:
        assert httpx.get(f"{server.url}/version", headers={"x-api-key": "k"}, timeout=60).headers["x-marked"] == "yes"
        refused = httpx.get(f"{server.url}/version", timeout=60)
        assert (refused.status_code, "x-marked" in refused.headers) == (401, False)
    with live(address) as server:
        assert "x-marked" not in httpx.get(f"{server.url}/version", timeout=60).headers


def test_t38_what_cannot_be_had_is_said(installed: list[EntryPoint], saw: Saw) -> None:
    """A plugin for the server that is missing, broken, or brought by two packages."""
    with pytest.raises(UserError, match="no middleware other; installed: broken, marked"):
        middleware.chosen(["other"])
    with pytest.raises(UserError, match="broken cannot be loaded: ModuleNotFoundError"):
        middleware.chosen(["broken"])
    installed.append(EntryPoint("marked", "another:Y", middleware.GROUP))
    with pytest.raises(UserError, match=r"brought by another:Y and .*Marked: uninstall one"):
        middleware.chosen(["marked"])
    saw("one line that names both owners; none is used because it is installed, and none stands before the keys", None)


def test_a_line_for_each_request(address: str, engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rustinfer.requests")
    with live(address, log_requests=True, api_key=("secret-key",)) as server:
        headers = {"x-request-id": "mine", "x-api-key": "secret-key"}
        httpx.post(f"{server.url}/v1/completions", json={"prompt": "private words"}, headers=headers, timeout=60)
    (record,) = [r for r in caplog.records if r.name == "rustinfer.requests"]
    line = json.loads(Json("server").format(record))
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/completions", 400)
    assert (line["request_id"], line["level"], line["process"]) == ("mine", "info", "server")
    assert line["caller"]
    assert "secret" not in str(line)
    assert "private" not in str(line)


def test_t41_control_characters_are_escaped_in_both_forms() -> None:
    record = logging.makeLogRecord({"msg": "a\r\nb\x1b[2J\x85", "levelname": "INFO", "created": 0.0})
    assert Text("x").format(record).endswith("a\\x0d\\x0ab\\x1b[2J\\x85")
    assert "\n" not in Json("x").format(record)
