"""Hostile bodies: answered within bounds, in the one shape, telling nothing of the inside; row M10."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from .conftest import MODEL, LiveServer, live, wait_for
from .fake_engine import CONTEXT, TEXT, TOOL_TEMPLATE, FakeEngine, card
from .hostile import requests

INSIDE = re.compile(
    r'Traceback|File "|0x[0-9a-f]{6,}|site-packages|\.py\b|/secret|/root|/usr|rustinfer\.server|pydantic|jinja2',
)
SECONDS = 2.0
"""Of the processor, for both ends: the machine may be busy with others."""


@pytest.fixture(scope="module")
def front(own: str) -> Iterator[tuple[LiveServer, FakeEngine]]:
    with FakeEngine(own, card=card(chat_template=TOOL_TEMPLATE, context=2 * CONTEXT)) as engine, live(own) as server:
        server.wait_ready()
        yield server, engine


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"ipc://{tmp_path_factory.mktemp('hostile', numbered=True)}/engine"


def check(response: httpx.Response, path: str, raw: bytes, seconds: float) -> None:
    shown = f"{path} {raw[:300]!r}: {response.status_code} {response.text[:300]}"
    assert response.status_code in (200, 400, 404), shown
    assert seconds < SECONDS, shown
    assert len(response.content) < 500_000, shown
    if response.status_code == 200:
        return
    assert response.headers["content-type"] == "application/json", shown
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}, shown
    assert isinstance(error["message"], str), shown
    assert len(response.content) < 2000, shown
    assert all(error[key] is None or isinstance(error[key], str) for key in ("param", "code")), shown
    leak = INSIDE.search(response.text)
    # What the client itself has sent may come back in a complaint.
    assert leak is None or leak[0].encode() in raw, shown


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(800, marks=pytest.mark.timeout(900)),
        pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_m10_hostile_bodies(front: tuple[LiveServer, FakeEngine], count: int) -> None:
    server, engine = front
    statuses: Counter[int] = Counter()
    epoch = server.link.served.epoch
    with httpx.Client(base_url=server.url, timeout=60) as http:

        @seed(count)
        @settings(
            max_examples=count,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(requests())
        def answered(request: tuple[str, bytes]) -> None:
            path, raw = request
            started = time.process_time()
            response = http.post(path, content=raw, headers={"content-type": "application/json"})
            statuses[response.status_code] += 1
            check(response, path, raw, time.process_time() - started)

        answered()
        wait_for(lambda: not engine.running and not server.link._jobs)
        asked = {"model": MODEL, "prompt": "a", "max_tokens": 5, "temperature": 0}
        assert http.post("/v1/completions", json=asked).json()["choices"][0]["text"] == TEXT[:5]
    assert server.link.served.epoch == epoch
    # The mutations are neither all fatal nor all harmless.
    assert sum(statuses.values()) >= count
    assert statuses[200] > count / 20
    assert statuses[400] > count / 3


PATHS = [
    "/v1/responses/%00", "/v1/responses/..%2f..%2fetc", "/v1/responses/" + "x" * 5000, "/v1/models/%ff%fe",
    "/v1/models/", "/v1/models/a%2fb?x=1", "//", "/%", "/v1/chat/completions/", "/V1/MODELS", "/v1/models/\u202e",
    "/openapi.json/",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_hostile_paths_and_methods(front: tuple[LiveServer, FakeEngine], method: str, path: str) -> None:
    response = httpx.request(method, front[0].url + path, headers={"content-type": "application/json"}, timeout=60)
    assert response.status_code in (400, 404, 405), response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert INSIDE.search(response.text) is None


def test_an_error_is_short_whatever_was_sent(front: tuple[LiveServer, FakeEngine]) -> None:
    wide = {"model": MODEL, "messages": [{"role": f"{i}" * 50, "content": []} for i in range(4000)]}
    long = {"model": "x" * 100_000, "messages": []}
    with httpx.Client(base_url=front[0].url, timeout=60) as http:
        for body in (wide, long, {"model": MODEL, "messages": "x" * 100_000}, {"model": MODEL, "a" * 50_000: 1}):
            started = time.process_time()
            response = http.post("/v1/chat/completions", json=body)
            assert response.status_code in (400, 404)
            assert len(response.content) < 1000
            assert time.process_time() - started < SECONDS
