"""Clients that hang up, engines that refuse, fail, die and return; rows L* and faults F1 to F7."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from .conftest import MODEL, LiveServer, live, wait_for
from .fake_engine import TEXT, FakeEngine

LONG = {"model": MODEL, "prompt": "a", "max_tokens": 500, "temperature": 0}


def events(text: str) -> list[Any]:
    return [e.removeprefix("data: ") for e in text.split("\n\n") if e]


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_l1_f5_stream_hang_up_aborts_at_once(server: LiveServer, engine: FakeEngine, tokens: int) -> None:
    engine.delay = 0.01
    with (
        httpx.Client(base_url=server.url) as http,
        http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as r,
    ):
        lines = r.iter_lines()
        for _ in range(tokens):
            next(lines)
    closed = time.monotonic()
    wait_for(lambda: not engine.running and engine.aborted)
    assert time.monotonic() - closed < 0.5
    assert not server.link._jobs


def test_f6_hang_up_of_a_whole_answer(server: LiveServer, engine: FakeEngine, http: httpx.Client) -> None:
    engine.delay = 0.01
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/completions", json={**LONG, "n": 2}, timeout=0.2)
    wait_for(lambda: not engine.running and engine.aborted, 1)
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 5}).json()["choices"][0]["text"] == TEXT[:5]


def test_openai_client_cancels(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.delay = 0.01
    stream = client.completions.create(**LONG, stream=True)  # type: ignore[call-overload]
    next(iter(stream))
    stream.close()
    wait_for(lambda: not engine.running and engine.aborted, 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("code", "status"), [("context_length_exceeded", 400), ("overloaded", 503), ("boom", 500)])
def test_engine_refusal_has_one_status(
    http: httpx.Client, engine: FakeEngine, stream: bool, code: str, status: int
) -> None:
    engine.refuse = (code, "not today")
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
    engine.delay = 0.05
    for response in (http.post("/v1/completions", json=b) for b in ({**body, "n": 6}, several)):
        assert response.status_code == 503
        assert response.json()["error"]["type"] == "unavailable_error"
        assert response.json()["error"]["code"] == "overloaded"
        assert "try again" in response.json()["error"]["message"]
        assert int(response.headers["retry-after"]) >= 1
        wait_for(lambda: not engine.running and not server.link._jobs)  # those that were taken are aborted


def test_l4_an_abort_that_crosses_the_last_token_ends_once(
    server: LiveServer, engine: FakeEngine, http: httpx.Client
) -> None:
    """L4: a client leaves while the engine sends the end; each request is counted once, and none is left."""
    before = dict(outcomes(server))

    async def leave_at(seconds: float) -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=seconds) as one:
            with suppress(httpx.TimeoutException):
                await one.post("/v1/completions", json={**LONG, "max_tokens": 5})

    async def crowd() -> None:
        await asyncio.gather(*(leave_at(0.005 + n / 1000) for n in range(60)))

    engine.delay = 0.005
    asyncio.run(crowd())
    wait_for(lambda: not engine.running and not server.link._jobs)
    wait_for(lambda: server.link.metrics.active._value.get() == 0)
    grown = {
        name: count - before.get(name, 0) for name, count in outcomes(server).items() if count > before.get(name, 0)
    }
    assert set(grown) <= {"finished", "aborted"}
    assert sum(grown.values()) <= 60
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 5}).json()["choices"][0]["text"] == TEXT[:5]


def outcomes(server: LiveServer) -> dict[str, float]:
    """How requests ended, from the metric."""
    (family,) = server.link.metrics.outcomes.collect()
    return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}


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
    engine.delay, engine.fail_after = 0.01, 3
    more = {"stream": True, "stream_options": {"include_usage": usage}, "max_tokens": 400}
    more["messages"] = [{"role": "user", "content": "a"}]
    response = http.post(path, json={**LONG, **more})
    *_, error, done = events(response.text)
    assert response.status_code == 200
    assert done == "[DONE]"
    assert json.loads(error)["error"]["message"] == "Internal server error"
    assert "0x" not in response.text
    assert "secret" not in response.text
    whole = http.post(path, json={**LONG, **more, "stream": False, "stream_options": None})
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == "numerical_error"


def test_l7_no_engine(own_address: str) -> None:
    with live(own_address) as server, httpx.Client(base_url=server.url) as http:
        for response in (http.get("/health"), http.post("/v1/completions", json=LONG), http.get("/v1/models")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_unavailable"
            assert int(response.headers["retry-after"]) >= 1
        assert http.get("/version").json()["engine"] is None
        assert http.get("/readyz").status_code == 503
        assert http.get("/livez").status_code == 200


@contextmanager
def engine_process(address: str, delay: float = 0.01) -> Iterator[subprocess.Popen[bytes]]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-m", "tests.server.fake_engine", address, str(delay)], cwd=root)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def streams(url: str, count: int, started: asyncio.Event) -> list[tuple[str, float]]:
    """Each stream's whole text and the time at which it ended."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as http:
        begun = 0

        async def one() -> tuple[str, float]:
            nonlocal begun
            text = ""
            async with http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as response:
                async for part in response.aiter_text():
                    begun += not text
                    text += part
                    if begun == count:
                        started.set()
            return text, time.monotonic()

        return await asyncio.gather(*(one() for _ in range(count)))


def test_f1_f2_killed_engine(own_address: str) -> None:
    with live(own_address) as server, httpx.Client(base_url=server.url, timeout=10) as http:
        with engine_process(own_address) as process:
            server.wait_ready()

            async def kill() -> tuple[list[tuple[str, float]], float]:
                started = asyncio.Event()
                running = asyncio.create_task(streams(server.url, 32, started))
                await started.wait()
                process.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                return await running, killed

            ended, killed = asyncio.run(kill())
        for text, at in ended:
            *_, error, done = events(text)
            assert done == "[DONE]"
            assert json.loads(error)["error"]["code"] == "engine_unavailable"
            assert at - killed < 1
        assert http.get("/health").status_code == 503
        assert http.post("/v1/completions", json=LONG).status_code == 503
        assert not server.link._jobs
        with engine_process(own_address):
            server.wait_ready()
            answer = http.post("/v1/completions", json={**LONG, "max_tokens": 5})
            assert answer.json()["choices"][0]["text"] == TEXT[:5]
            assert http.get("/health").status_code == 200


def test_f16_stopped_engine(own_address: str) -> None:
    with live(own_address) as server, engine_process(own_address) as process:
        server.wait_ready()
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: httpx.get(f"{server.url}/health").status_code == 503, 6)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: httpx.get(f"{server.url}/health").status_code == 200, 5)
        answer = httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 5})
        assert answer.json()["choices"][0]["text"] == TEXT[:5]


def test_f3_server_restart_and_orphans(own_address: str) -> None:
    with FakeEngine(own_address, delay=0.01) as engine:
        with live(own_address) as server:
            server.wait_ready()
            with (
                httpx.Client(base_url=server.url) as http,
                http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as r,
            ):
                lines = r.iter_lines()
                next(lines)
                server.stop()
        wait_for(lambda: not engine.running, 2)
        started = time.monotonic()
        with live(own_address) as server:
            server.wait_ready()
            assert time.monotonic() - started < 1


def test_f4_two_servers(own_address: str) -> None:
    with FakeEngine(own_address, delay=0.005) as engine, live(own_address) as one, live(own_address) as two:
        one.wait_ready()
        two.wait_ready()

        async def both() -> list[list[tuple[str, float]]]:
            return await asyncio.gather(*(streams(s.url, 4, asyncio.Event()) for s in (one, two)))

        for texts in asyncio.run(both()):
            for text, _ in texts:
                parts = [json.loads(e)["choices"][0]["text"] for e in events(text)[:-1]]
                assert "".join(parts).startswith(TEXT)
        assert len({r.id for r in engine.requests}) == 4  # each server numbers its own


def test_f7_f27_abort_storm(server: LiveServer, engine: FakeEngine, http: httpx.Client) -> None:
    engine.delay = 0.002

    async def storm() -> None:
        async with httpx.AsyncClient(
            base_url=server.url, timeout=0.05, limits=httpx.Limits(max_connections=None)
        ) as many:
            await asyncio.gather(*(many.post("/v1/completions", json=LONG) for _ in range(100)), return_exceptions=True)

    asyncio.run(storm())
    wait_for(lambda: not engine.running and not server.link._jobs, 5)
    engine.delay = 0.0
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 5}).status_code == 200
    assert server.link.metrics.active._value.get() == 0


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


class Process:
    """`rustinfer-server` as a process of its own."""

    def __init__(self, address: str, *more: str) -> None:
        command = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, "--port", "0", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: http://127.0.0.1:")
        return line.split()[1]


def test_ready_and_sigterm_drains(own_address: str) -> None:
    """L5: what runs finishes, the exit code is 0, and Ready comes only after the engine."""
    server = Process(own_address)
    with FakeEngine(own_address, delay=0.01):
        url = server.ready()
        with httpx.stream("POST", f"{url}/v1/completions", json={**LONG, "max_tokens": 50, "stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            time.sleep(0.1)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health")
            assert "[DONE]" in list(lines)[-2]
        assert server.process.wait(5) == 0


def test_l6_sigterm_without_drain(own_address: str) -> None:
    server = Process(own_address, "--shutdown-timeout", "0")
    with FakeEngine(own_address, delay=0.05) as engine:
        url = server.ready()
        with httpx.stream("POST", f"{url}/v1/completions", json={**LONG, "stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.terminate()
            rest = [line for line in lines if line]
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert rest[-1] == "data: [DONE]"
        assert server.process.wait(4) == 0
        wait_for(lambda: not engine.running)


def test_users_mistakes_end_in_one_line(own_address: str) -> None:
    with live(own_address) as taken:
        port = taken.url.rpartition(":")[2]
        for more, word in (
            [["--port", port], "in use"],
            [["--engine", "tcp://1.2.3.4:5"], "--wire-key-file"],
            [["--host", "nope.invalid"], "nope"],
        ):
            server = Process(own_address, *more)
            out, err = server.process.communicate(timeout=10)
            assert server.process.returncode == 2
            assert out == ""
            assert word in err
            assert err.count("\n") == 1


def test_the_server_never_imports_torch() -> None:
    code = "import sys, rustinfer.server.main; print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert out.stdout.strip() == "[]"
