"""Clients that hang up; rows L1 and L4 of the behaviours, and faults F5 to F7."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import openai
import pytest

from .conftest import LiveServer, wait_for
from .fake_engine import TEXT, FakeEngine
from .lifecycle import LONG, asking


def outcomes(server: LiveServer) -> dict[str, float]:
    """How requests ended, from the metric."""
    (family,) = server.link.metrics.outcomes.collect()
    return {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total") and s.value}


@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_l1_f5_stream_hang_up_aborts_at_once(server: LiveServer, engine: FakeEngine, tokens: int) -> None:
    engine.hold = 1
    with (
        httpx.Client(base_url=server.url, timeout=60) as http,
        http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as r,
    ):
        lines = r.iter_lines()
        for _ in range(tokens):
            next(lines)
            engine.hold += 1
        engine.hold = 0  # nothing more is written from which the server could learn that the client is gone
    wait_for(lambda: not engine.running and engine.aborted)
    assert not server.link._jobs


def test_f6_hang_up_of_a_whole_answer(server: LiveServer, engine: FakeEngine, http: httpx.Client) -> None:
    engine.hold = 0
    with asking(server, "/v1/completions", {**LONG, "n": 2}):
        wait_for(lambda: engine.running)
    wait_for(lambda: not engine.running and engine.aborted)
    engine.hold = None
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 5}).json()["choices"][0]["text"] == TEXT[:5]


def test_openai_client_cancels(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.delay, engine.hold = 0.01, 100
    stream = client.completions.create(**LONG, stream=True)  # type: ignore[call-overload]
    next(iter(stream))
    stream.close()
    wait_for(lambda: not engine.running and engine.aborted)


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


def test_f7_f27_abort_storm(server: LiveServer, engine: FakeEngine, http: httpx.Client) -> None:
    engine.delay = 0.002

    async def storm() -> None:
        async with httpx.AsyncClient(
            base_url=server.url, timeout=0.05, limits=httpx.Limits(max_connections=None)
        ) as many:
            await asyncio.gather(*(many.post("/v1/completions", json=LONG) for _ in range(100)), return_exceptions=True)

    asyncio.run(storm())
    wait_for(lambda: not engine.running and not server.link._jobs)
    engine.delay = 0.0
    assert http.post("/v1/completions", json={**LONG, "max_tokens": 5}).status_code == 200
    wait_for(lambda: server.link.metrics.active._value.get() == 0)  # the last of them may only now be read
