"""Engines that die, stop and return, and several servers before one; faults F1 to F4 and F16."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rustinfer.protocol import connection
from rustinfer.protocol.router import EngineChannel
from rustinfer.server import orphans, pulse

from ..faults.streams import Ended, gather, streams
from .conftest import LiveServer, live, wait_for
from .fake_engine import TEXT, FakeEngine, card
from .lifecycle import LONG, asking


@contextmanager
def engine_process(address: str) -> Iterator[subprocess.Popen[bytes]]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-m", "tests.server.fake_engine", address], cwd=root)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_f1_f2_killed_engine(own_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENT_MS", 600_000)  # by the end of its connection, at once
    with live(own_address) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        with engine_process(own_address) as process:
            server.wait_ready()
            ended, _ = streams(server.url, [LONG] * 32, lambda: process.send_signal(signal.SIGKILL))
        for each in ended:
            assert each.done
            assert each.error == "engine_unavailable"
        assert http.get("/health").status_code == 503
        assert http.post("/v1/completions", json=LONG).status_code == 503
        assert not server.link._jobs
        with engine_process(own_address):
            server.wait_ready()
            answer = http.post("/v1/completions", json={**LONG, "max_tokens": 5})
            assert answer.json()["choices"][0]["text"] == TEXT[:5]
            assert http.get("/health").status_code == 200


class Mute(FakeEngine):
    """Takes requests and says nothing."""

    def _step(self, channel: EngineChannel) -> None:
        pass


class Babbling(FakeEngine):
    """Sends what is no message before each step."""

    def _step(self, channel: EngineChannel) -> None:
        for peer in channel.peers:
            channel._socket.send_multipart([peer, b"x"])
        super()._step(channel)


def test_f14_what_is_no_message_is_counted(own_address: str) -> None:
    with live(own_address) as server, Babbling(own_address):
        server.wait_ready()
        assert httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 5}, timeout=60).status_code == 200
        counted = re.search(
            r"(?m)^rustinfer_protocol_errors_total (\S+)", httpx.get(f"{server.url}/metrics", timeout=60).text
        )
    assert counted is not None
    assert float(counted[1]) >= 5


BODIES = (
    {**LONG, "max_tokens": 5},
    {**LONG, "max_tokens": 5, "stream": True},
    {**LONG, "max_tokens": 5, "prompt": ["a", "b"] * 20, "zebra": 1},
)


def asked(server: LiveServer, engine: FakeEngine, body: dict[str, Any]) -> Future[httpx.Response]:
    """An answer that is waited for, once the engine has the request."""
    prompts, before = len(body["prompt"]) if isinstance(body["prompt"], list) else 1, len(engine.requests)
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(httpx.post, f"{server.url}/v1/completions", json=body, timeout=60)
    pool.shutdown(wait=False)
    wait_for(lambda: len(engine.requests) == before + prompts)
    return answer


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the next engine comes, it is waited for."""
    monkeypatch.setattr(orphans, "PATIENCE_SECONDS", 600)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("body", BODIES)
def test_f2_what_was_not_begun_is_asked_once_again_and_marked(own_address: str, body: dict[str, Any]) -> None:
    with live(own_address) as server:
        with Mute(own_address) as engine:
            server.wait_ready()
            answer = asked(server, engine, body)
        wait_for(lambda: not server.link.up)
        assert httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).status_code == 503  # nobody new waits
        with FakeEngine(own_address) as engine:
            found = answer.result(60)
            plain = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
        assert (found.status_code, found.headers["x-retried"]) == (200, "1")
        assert found.headers.get("x-ignored-params") == plain.headers.get("x-ignored-params")
        assert "x-retried" not in plain.headers
        assert {r.prompt_token_ids[0] for r in engine.requests} <= {97, 98}
        if not body.get("stream"):
            assert found.json()["choices"] == plain.json()["choices"]
        assert not server.link._jobs
        assert server.link.room.waiting == 0


@pytest.mark.usefixtures("patient")
def test_f2_the_inputs_that_were_not_sent_follow_in_the_next_engine(own_address: str) -> None:
    body = {"model": "acme/bytes", "input": [chr(97 + n % 26) for n in range(50)]}
    with live(own_address) as server, ThreadPoolExecutor(1) as thread:
        with Mute(own_address, card=card(queue=8)) as first:
            server.wait_ready()
            answer = thread.submit(httpx.post, f"{server.url}/v1/embeddings", json=body, timeout=60)
            wait_for(lambda: len(first.requests) == 4)
        with FakeEngine(own_address, card=card(queue=8)) as second:
            found = answer.result(60)
        assert (found.status_code, found.headers["x-retried"]) == (200, "1")
        assert [r.prompt_token_ids for r in second.requests] == [[97 + n % 26] for n in range(50)]
        assert not server.link._jobs
        assert server.link.room.waiting == 0


@pytest.mark.usefixtures("patient")
def test_f2_nothing_is_asked_three_times(own_address: str) -> None:
    with live(own_address) as server:
        with Mute(own_address) as first:
            server.wait_ready()
            answer = asked(server, first, BODIES[0])
        with Mute(own_address) as second:
            wait_for(lambda: second.requests)
        found = answer.result(60)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_unavailable")
        assert not server.link.busy


@pytest.mark.parametrize("end", ["no engine", "another model", "the client"])
def test_f2_what_was_not_begun_does_not_wait_for_ever(
    own_address: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "PATIENCE_SECONDS", 0.5 if end == "no engine" else 600)
    body = {**BODIES[0], "prompt": "b"}
    with live(own_address) as server, ExitStack() as client:
        with Mute(own_address) as engine:
            server.wait_ready()
            if end == "the client":
                client.enter_context(asking(server, "/v1/completions", body))
                wait_for(lambda: engine.requests)
            else:
                answer = asked(server, engine, body)
        wait_for(lambda: not server.link.up)
        if end == "the client":
            wait_for(lambda: server.link.busy)  # the server's thread takes it from one list to the other
            client.close()
        if end == "another model":
            with FakeEngine(own_address, card=card(id="acme/others")) as engine:
                assert answer.result(60).status_code == 503
                assert not engine.requests
        elif end == "no engine":
            found = answer.result(60)
            assert found.status_code == 503
            assert int(found.headers["retry-after"]) >= 1
        wait_for(lambda: not server.link.busy)


def test_f2_a_stream_that_has_begun_without_a_word_is_not_asked_again(
    own_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status line is sent: the retry could not be marked any more."""
    monkeypatch.setattr(pulse, "FIRST_SECONDS", 0.1)
    with live(own_address) as server:
        with Mute(own_address) as engine:
            server.wait_ready()
            with httpx.stream("POST", f"{server.url}/v1/completions", json=BODIES[1], timeout=60) as found:
                assert found.status_code == 200
                parts = found.iter_text()
                text = next(parts)
                engine.stop()
                text += "".join(parts)
        assert text.startswith(": keep-alive")
        assert '"engine_unavailable"' in text
        assert text.endswith("data: [DONE]\n\n")


def test_f16_stopped_engine(own_address: str) -> None:
    with live(own_address) as server, engine_process(own_address) as process:
        server.wait_ready()
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: httpx.get(f"{server.url}/health", timeout=60).status_code == 503)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: httpx.get(f"{server.url}/health", timeout=60).status_code == 200)
        answer = httpx.post(f"{server.url}/v1/completions", json={**LONG, "max_tokens": 5}, timeout=60)
        assert answer.json()["choices"][0]["text"] == TEXT[:5]


def test_f3_server_restart_and_orphans(own_address: str) -> None:
    with FakeEngine(own_address, hold=100) as engine:
        began = time.monotonic()
        with live(own_address) as server:
            server.wait_ready()
            usual = time.monotonic() - began
            with (
                httpx.Client(base_url=server.url, timeout=60) as http,
                http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as r,
            ):
                lines = r.iter_lines()
                next(lines)
                server.stop()
        wait_for(lambda: not engine.running)
        started = time.monotonic()
        with live(own_address) as server:
            server.wait_ready()
            assert time.monotonic() - started < max(1, 3 * usual)


def test_f4_two_servers(own_address: str) -> None:
    with FakeEngine(own_address, delay=0.005) as engine, live(own_address) as one, live(own_address) as two:
        one.wait_ready()
        two.wait_ready()

        async def both() -> list[tuple[list[Ended], float]]:
            return await asyncio.gather(*(gather(s.url, [LONG] * 4) for s in (one, two)))

        for ended, _ in asyncio.run(both()):
            for each in ended:
                assert each.done
                assert each.said.startswith(TEXT)
        assert len({r.id for r in engine.requests}) == 4  # each server numbers its own
