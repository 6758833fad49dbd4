"""Engines that refuse, fail or are not there; rows L2, L7, L8 and M10 of the behaviours."""

from __future__ import annotations

import json

import httpx
import pytest

from .conftest import MODEL, LiveServer, live, wait_for
from .fake_engine import FakeEngine
from .lifecycle import LONG, asking, events, failing


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("code", "status"), [("context_length_exceeded", 400), ("overloaded", 503), ("boom", 500)])
def test_engine_refusal_has_one_status(
    http: httpx.Client, engine: FakeEngine, stream: bool, code: str, status: int
) -> None:
    engine.refuse = (code, "not today")
    for path, field, text in (
        ("chat/completions", "messages", [{"role": "user", "content": "a"}]),
        ("responses", "input", "a"),
    ):
        answer = http.post(f"/v1/{path}", json={"model": MODEL, field: text, "stream": stream})
        assert answer.status_code == status
        assert answer.json()["error"]["param"] == (field if status == 400 else None)
    response = http.post("/v1/completions", json={**LONG, "stream": stream})
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message"] == ("Internal server error" if status == 500 else "not today")
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize("stream", [False, True])
def test_l8_a_full_queue(http: httpx.Client, server: LiveServer, engine: FakeEngine, stream: bool) -> None:
    """L8: five may wait: n=5 do, n=6 do not, nor do three prompts of two each."""
    engine.queue = 5
    body = {**LONG, "temperature": 1, "max_tokens": 2, "stream": stream}
    wait_for(lambda: not engine.running)
    assert http.post("/v1/completions", json={**body, "n": 5}).status_code == 200
    several = {**LONG, "temperature": 1, "prompt": ["a", "b", "c"], "n": 2}
    engine.hold = 0
    for response in (http.post("/v1/completions", json=b) for b in ({**body, "n": 6}, several)):
        assert response.status_code == 503
        assert response.json()["error"]["type"] == "unavailable_error"
        assert response.json()["error"]["code"] == "overloaded"
        assert "try again" in response.json()["error"]["message"]
        assert int(response.headers["retry-after"]) >= 1
        wait_for(lambda: not engine.running and not server.link._jobs)
    wait_for(lambda: bool(engine.aborted) and not engine.running)  # the prompts behind the one that was refused


@pytest.mark.parametrize("stream", [False, True])
def test_l8_a_queue_that_is_known_to_be_full(
    http: httpx.Client, server: LiveServer, engine: FakeEngine, stream: bool
) -> None:
    """The engine is not asked, and of a request with several prompts none is taken."""
    wait_for(lambda: not engine.running and server.link.room.waiting == 0)
    asked = len(engine.requests)
    server.link.room.engine(5)
    server.link.room.waiting += 4  # of clients that have heard nothing yet
    try:
        for more in ({"n": 2}, {"prompt": ["a", "b"]}):
            response = http.post("/v1/completions", json={**LONG, "temperature": 1, "stream": stream, **more})
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "overloaded"
        assert len(engine.requests) == asked
        done = http.post("/v1/completions", json={**LONG, "max_tokens": 2, "stream": stream})
        assert done.status_code == 200
        assert server.link.room.waiting == 4
    finally:
        server.link.room.waiting -= 4
        server.link.room.engine(None)


@pytest.mark.parametrize("end", ["its answer", "the engine", "the client", "a stop string"])
def test_whoever_has_heard_something_waits_no_more(
    http: httpx.Client, server: LiveServer, engine: FakeEngine, end: str
) -> None:
    wait_for(lambda: not engine.running and server.link.room.waiting == 0)
    body = {**LONG, "n": 2, "temperature": 1}
    if end == "its answer":
        http.post("/v1/completions", json={**body, "max_tokens": 2})
    elif end == "the engine":
        engine.fail_after = 0
        http.post("/v1/completions", json=body)
    elif end == "a stop string":
        http.post("/v1/completions", json={**body, "stop": ["e"]})
    else:
        engine.hold = 1
        with asking(server, "/v1/completions", body):
            wait_for(lambda: engine.running and server.link.room.waiting == 0)
    wait_for(lambda: not server.link._jobs)
    assert server.link.room.waiting == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses"])
def test_l2_m10_failure_before_the_first_token(http: httpx.Client, engine: FakeEngine, path: str, stream: bool) -> None:
    """L2: no stream has begun, so the status says it."""
    engine.fail_after = 0
    asked = {"/v1/completions": {"prompt": "a"}, "/v1/responses": {"input": "a"}}
    body = asked.get(path, {"messages": [{"role": "user", "content": "a"}]})
    response = http.post(path, json={"model": MODEL, "stream": stream, **body})
    assert (response.status_code, response.headers["content-type"]) == (500, "application/json")
    assert response.json()["error"]["message"] == "Internal server error"
    assert "0x" not in response.text
    assert "secret" not in response.text


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_l2_m10_failure_in_a_stream(http: httpx.Client, engine: FakeEngine, path: str, usage: bool) -> None:
    more = {"stream": True, "stream_options": {"include_usage": usage}, "max_tokens": 400}
    more["messages"] = [{"role": "user", "content": "a"}]
    text = failing(http, engine, path, {**LONG, **more})
    *_, error, done = events(text)
    assert done == "[DONE]"
    assert json.loads(error)["error"]["message"] == "Internal server error"
    assert "0x" not in text
    assert "secret" not in text
    whole = http.post(path, json={**LONG, **more, "stream": False, "stream_options": None})
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == "numerical_error"


def test_l7_no_engine(own_address: str) -> None:
    with live(own_address) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        for response in (http.get("/health"), http.post("/v1/completions", json=LONG), http.get("/v1/models")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_unavailable"
            assert int(response.headers["retry-after"]) >= 1
        assert http.get("/version").json()["engine"] is None
        assert http.get("/readyz").status_code == 503
        assert http.get("/livez").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_m10_a_bug_of_ours_says_nothing(
    http: httpx.Client, server: LiveServer, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/secret/path at 0xdeadbeef")

    monkeypatch.setattr(server.link, "submit", broken)
    response = http.post("/v1/completions", json={**LONG, "stream": stream}, headers={"x-request-id": "mine"})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "Internal server error"
    assert response.headers["x-request-id"] == "mine"
    monkeypatch.undo()
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 1}).status_code == 200
