"""Models, authentication, plain HTTP; rows M* of the behaviours."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import openai
import pytest
from starlette.routing import Route

from rustinfer.errors import UserError
from rustinfer.server import patient
from rustinfer.server.auth import PUBLIC
from rustinfer.server.options import Options
from rustinfer.server.routes import ROUTES

from .conftest import MODEL, LiveServer, live, wait_for
from .fake_engine import CONTEXT, FakeEngine, card

KEY = "s3cret-ключ"
HEADERS = {"authorization": f"Bearer {KEY}".encode()}


@pytest.fixture(scope="module")
def locked(address: str, shared_engine: FakeEngine) -> Iterator[LiveServer]:
    with live(address, api_key=("other", KEY), allow_origin=("http://localhost",), max_body=10_000) as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def guarded(locked: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=60) as client:
        yield client


def test_m1_m2_m3_models(client: openai.OpenAI, http: httpx.Client) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "rustinfer")
    assert type(model.created) is int
    assert (model.max_model_len, model.permission) == (CONTEXT, [])  # type: ignore[attr-defined]
    assert http.get(f"/v1/models/{MODEL}").json() == http.get("/v1/models").json()["data"][0]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")
    assert "secret" not in http.get("/v1/models").text


def every_route() -> list[tuple[str, str]]:
    assert all(isinstance(r, Route) for r in ROUTES)
    return [(m, r.path.replace("{id:path}", MODEL)) for r in ROUTES for m in sorted(r.methods or ())]


def test_m4_every_route_needs_a_key(guarded: httpx.Client) -> None:
    paths = [
        *every_route(),
        ("GET", "/nowhere"),
        ("OPTIONS", "/v1/models"),
        ("GET", "//v1/models"),
        ("GET", "/V1/models"),
    ]
    paths += [("GET", "/v1/%2e%2e/metrics"), ("GET", "/health/"), ("GET", "/health;x")]  # T6
    assert len(paths) > 12
    for method, path in paths:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer"},
            {"authorization": "Basic eDp5"},
            {"x-api-key": ""},
        ):
            response = guarded.request(method, path, headers=headers)
            expected = 200 if path in PUBLIC else 401
            assert response.status_code == expected, (method, path)
            if expected == 401 and method != "HEAD":
                error = response.json()["error"]
                assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
                assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("host", ["localhost/health?", "localhost", "127.0.0.1:99999", "[::1]:8000"])
def test_t6_the_host_header_opens_nothing(guarded: httpx.Client, host: str) -> None:
    assert guarded.get("/v1/models", headers={"host": host}).status_code in (401, 421)


def test_t6_absolute_form(locked: LiveServer) -> None:
    port = int(locked.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(b"GET http://x/health/../v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " not in link.recv(100)


def test_m5_right_keys(guarded: httpx.Client) -> None:
    for headers in (HEADERS, {"x-api-key": KEY.encode()}, {"authorization": b"bearer other"}):
        assert guarded.get("/v1/models", headers=headers).status_code == 200
        assert guarded.get("/nowhere", headers=headers).status_code == 404


def test_m6_health_is_open_and_says_little(guarded: httpx.Client) -> None:
    for path in ("/health", "/health?verbose"):
        assert guarded.get(path).json() == {"status": "ok"}
    assert guarded.get("/health?verbose", headers=HEADERS).json() == {"status": "ok", "failed_plugins": {}}


def test_m7_cors(http: httpx.Client, guarded: httpx.Client) -> None:
    def asked(client: httpx.Client, origin: str) -> httpx.Response:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        return client.options("/v1/chat/completions", headers=headers)

    assert "access-control-allow-origin" not in asked(http, "http://evil.example").headers
    assert asked(guarded, "http://localhost").headers["access-control-allow-origin"] == "http://localhost"
    refused = asked(guarded, "http://localhost.evil.com")
    assert "access-control-allow-origin" not in refused.headers
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "cors_refused")
    answer = guarded.get("/health", headers={"origin": "http://localhost"})
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("origin", ["localhost", "http://localhost/", "localhost:3000", "http://"])
def test_m7_an_origin_that_no_page_has_is_refused(origin: str) -> None:
    with pytest.raises(UserError, match="--allow-origin"):
        Options("ipc:///x", allow_origin=(origin,))
    Options("ipc:///x", allow_origin=("*", "null", "http://localhost:3000", "app://obsidian.md"))


def test_m8_request_ids(http: httpx.Client) -> None:
    assert http.get("/health", headers={"x-request-id": "Custom"}).headers["x-request-id"] == "Custom"
    for unfit in (None, "x" * 10_000, "a b", "ü".encode()):
        headers = {"x-request-id": unfit} if unfit else {}
        assert re.fullmatch("[0-9a-f]{32}", http.get("/nowhere", headers=headers).headers["x-request-id"])


@pytest.mark.parametrize("value", [b"a\r\n set-cookie: b", b"a\rset-cookie: b", b"a\nset-cookie: b", b"a\r\n\tb"])
def test_m8_a_request_id_forges_no_header(server: LiveServer, value: bytes) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: " + value + b"\r\n\r\n"
    answer, _ = raw(server, head)
    assert b"set-cookie" not in answer.lower()
    assert not re.search(rb"(?i)x-request-id: a\b", answer)  # one of our own may begin so


def test_m9_unknown_path_and_method(http: httpx.Client) -> None:
    missing, wrong = http.get("/nowhere"), http.put("/v1/models")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    for response in (missing, wrong, http.get("/v1/chat/completions")):
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert "GET" in wrong.headers["allow"]


def raw(server: LiveServer, *parts: bytes) -> tuple[bytes, int]:
    """What came back until the connection was closed, and how many of the parts were taken by then."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as link:
        link.settimeout(60)
        sent, answer = 0, b""
        # What was answered before the connection was cut can still be read.
        with suppress(ConnectionError):
            for part in parts:
                link.sendall(part)
                sent += 1
        with suppress(ConnectionError):
            while got := link.recv(65536):
                answer += got
        return answer, sent


def test_m11_who_goes_on_sending_still_gets_the_answer(locked: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "LINGER_SECONDS", 600.0)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: other\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(locked.url.rpartition(":")[2]))) as link:
        link.settimeout(60)
        link.sendall(head)
        for _ in range(20):  # long after the server has answered
            time.sleep(0.02)
            link.sendall(b" " * 10_000)
        answer = b""
        while got := link.recv(65536):
            answer += got
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_m11_the_rest_of_a_large_body_is_not_waited_for(locked: LiveServer, chunked: bool) -> None:
    """It never comes: who waited for it would answer 408 in the end."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: other\r\nContent-Type: application/json\r\n"
    if chunked:  # 20 kB of an endless body, over a limit of 10 kB
        parts = [head + b"Transfer-Encoding: chunked\r\n\r\n", *[b"3e8\r\n" + b" " * 1000 + b"\r\n"] * 20]
    else:
        parts = [head + b"Content-Length: 1000000000\r\n\r\n{"]
    answer, _ = raw(locked, *parts)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_m11_large_bodies(guarded: httpx.Client, chunked: bool) -> None:
    content = (b"x" * 1000 for _ in range(20)) if chunked else b"x" * 20_000
    headers = {**HEADERS, "content-type": "application/json"}
    response = guarded.post("/v1/completions", content=content, headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert guarded.get("/health").status_code == 200


def test_t35_tiny_chunks(http: httpx.Client) -> None:
    content = (bytes([b]) for b in b'{"model": "acme/bytes", "prompt": "a", "max_tokens": 1}')
    headers = {"content-type": "application/json"}
    assert http.post("/v1/completions", content=content, headers=headers).status_code == 200


def test_livez_and_readyz(http: httpx.Client, engine: FakeEngine) -> None:
    assert http.get("/livez").json() == {"status": "ok"}
    wait_for(lambda: http.get("/readyz").json()["heartbeat_age_seconds"] < 2)


def values(http: httpx.Client) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_m14_metrics(http: httpx.Client, engine: FakeEngine) -> None:
    before = values(http)
    http.post("/v1/completions", json={"model": MODEL, "prompt": "abc", "max_tokens": 1})
    wait_for(lambda: values(http)["rustinfer_requests_running"] == 0)
    after = values(http)
    assert all(v == v and abs(v) != float("inf") for v in after.values())
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["rustinfer_prompt_tokens_total"] == 3
    assert grown["rustinfer_generation_tokens_total"] == 1
    assert grown["rustinfer_time_to_first_token_seconds_count"] == 1
    assert grown['rustinfer_requests_total{outcome="finished"}'] == 1
    assert after["rustinfer_engine_up"] == 1


def test_m15_active(http: httpx.Client, engine: FakeEngine) -> None:
    wait_for(lambda: values(http)["rustinfer_requests_active"] == 0)
    engine.hold = 2
    with http.stream("POST", "/v1/completions", json={"model": MODEL, "prompt": "a", "stream": True}) as response:
        lines = response.iter_lines()  # dropping the iterator would close the stream
        next(lines)
        assert values(http)["rustinfer_requests_active"] == 1
        engine.hold = None
    wait_for(lambda: values(http)["rustinfer_requests_active"] == 0)


def test_ops(http: httpx.Client) -> None:
    answer = http.get("/v1/ops").json()
    row = {"site": "model.layers.0.mlp", "op": "linear", "kernel": "cpu", "refusals": {"triton": "needs a GPU"}}
    assert answer["data"] == [row]
    assert (answer["dtype"], answer["device"]) == ("float32", "Acme 9000")


def test_version(http: httpx.Client) -> None:
    answer = http.get("/version").json()
    assert answer["engine"] == {"version": "test", "fingerprint": "f" * 32}


def test_the_page_brings_all_of_itself(http: httpx.Client) -> None:
    response = http.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", response.text)
    assert " style=" not in response.text
    assert not re.search(r"\son[a-z]+=", response.text)


def test_a_model_without_tokenizer_or_template(own_address: str) -> None:
    bare = card(tokenizer_json="", chat_template=None)
    with (
        FakeEngine(own_address, card=bare),
        live(own_address) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        server.wait_ready()
        ids = http.post("/v1/completions", json={"model": MODEL, "prompt": [1, 2], "max_tokens": 3, "logprobs": 1})
        assert ids.json()["usage"]["completion_tokens"] == 3
        assert ids.json()["choices"][0]["text"] == ""
        text = http.post("/v1/completions", json={"model": MODEL, "prompt": "a"})
        assert "no tokenizer" in text.json()["error"]["message"]
        chat = http.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": "a"}]})
        assert (text.status_code, chat.status_code) == (400, 400)


def test_checkpoint_defaults_apply(own_address: str) -> None:
    chosen = card(defaults={"temperature": 0.25, "top_k": 7, "unheard_of": 3})
    with FakeEngine(own_address, card=chosen) as engine, live(own_address) as server:
        server.wait_ready()
        asked = {"model": MODEL, "prompt": "a", "top_k": 9}
        assert httpx.post(f"{server.url}/v1/completions", json=asked, timeout=60).status_code == 200
        got = engine.requests[-1].sampling
        assert (got.temperature, got.top_k) == (0.25, 9)


def test_any_model_and_served_names(address: str, engine: FakeEngine) -> None:
    with live(address, served_model_name=("a", "b/c")) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        server.wait_ready()
        assert [m["id"] for m in http.get("/v1/models").json()["data"]] == ["a", "b/c"]
        assert http.get("/v1/models/b/c").json()["id"] == "b/c"
        asked = {"model": "b/c", "prompt": "x"}
        assert http.post("/v1/completions", json=asked).json()["model"] == "b/c"
        assert http.post("/v1/completions", json=asked | {"model": MODEL}).status_code == 404
    with live(address, also_named="short") as server, httpx.Client(base_url=server.url, timeout=60) as http:
        server.wait_ready()
        assert [m["id"] for m in http.get("/v1/models").json()["data"]] == [MODEL]
        assert http.get("/v1/models/short").json()["id"] == "short"
        for name in (MODEL, "short"):
            assert http.post("/v1/completions", json=asked | {"model": name}).json()["model"] == name
        assert http.post("/v1/completions", json=asked | {"model": "shorter"}).status_code == 404
    with live(address, any_model=True) as server:
        server.wait_ready()
        assert (
            httpx.post(f"{server.url}/v1/completions", json={"model": "gpt-9", "prompt": "x"}, timeout=60).status_code
            == 200
        )
