"""Requests and tokens a minute, by key."""

from __future__ import annotations

import httpx
import pytest

from rustinfer.server.errors import ApiError
from rustinfer.server.limits import Limits
from tests.conftest import Saw

from .conftest import MODEL, live
from .fake_engine import FakeEngine


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_come_back_evenly() -> None:
    clock = Clock()
    limits = Limits(3, None, clock)
    for _ in range(3):
        limits.admit("a")
    with pytest.raises(ApiError) as caught:
        limits.admit("a")
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.headers["Retry-After"] == "20"
    limits.admit("b")
    clock.now += 20
    limits.admit("a")
    with pytest.raises(ApiError):
        limits.admit("a")
    clock.now += 1e6
    assert limits.headers("a")["x-ratelimit-remaining-requests"] == "3"


def test_tokens_may_be_overdrawn_once() -> None:
    clock = Clock()
    limits = Limits(None, 60, clock)
    limits.admit("a")
    limits.charge("a", 90)
    assert limits.headers("a") == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "90.000s",
    }
    with pytest.raises(ApiError, match="60 tokens a minute"):
        limits.admit("a")
    clock.now += 31
    limits.admit("a")


def test_without_limits_nothing_is_kept() -> None:
    limits = Limits(None, None)
    assert not limits
    limits.admit("a")
    limits.charge("a", 10**9)
    assert limits.headers("a") == {}


def test_429_and_headers_over_http(address: str, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"model": MODEL, "prompt": "abc" * 20, "max_tokens": 5}
    with live(address, api_key=("a", "b"), requests_per_minute=2, tokens_per_minute=1000) as server:
        server.wait_ready()
        monkeypatch.setattr(server.link._limits, "_clock", Clock())  # at which nothing comes back

        def ask(key: str) -> httpx.Response:
            return httpx.post(f"{server.url}/v1/completions", json=body, headers={"x-api-key": key}, timeout=60)

        first, second, third = (ask("a") for _ in range(3))
        assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        assert second.headers["x-ratelimit-remaining-tokens"] == "870"
        assert third.json()["error"]["code"] == "rate_limit_exceeded"
        assert third.headers["retry-after"] == "30"
        assert ask("b").status_code == 200
        assert httpx.get(f"{server.url}/v1/models", headers={"x-api-key": "a"}, timeout=60).status_code == 200


def test_t26_keys_share_no_prefixes_unless_told(address: str, engine: FakeEngine, saw: Saw) -> None:
    """Two keys ask for the same prompt, and one of them again."""
    body = {"model": MODEL, "prompt": "abc", "max_tokens": 1}

    def salts(share: bool) -> list[str]:
        engine.requests.clear()
        with live(address, api_key=("a", "b"), share_prefixes=share) as server:
            server.wait_ready()
            for key in ("a", "b", "a"):
                httpx.post(f"{server.url}/v1/completions", json=body, headers={"x-api-key": key}, timeout=60)
        return [request.salt for request in engine.requests]

    one, two, again = salts(share=False)
    assert one == again != two
    assert one
    assert two
    assert salts(share=True) == ["", "", ""]
    saw("cached prefixes are salted by key: the one finds its own again, never the other's", None)
