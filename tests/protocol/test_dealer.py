"""The server's end: an engine that is silent, gives it up, or says what is no message."""

from __future__ import annotations

import asyncio
import pickle
import time

import pytest

from rustinfer.protocol import connection
from rustinfer.protocol.bans import TOLERATED
from rustinfer.protocol.codec import encode
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import (
    Abort,
    Drain,
    Message,
    Ping,
    Stats,
)
from rustinfer.protocol.router import Received

from .ends import GENERATE, Log, bind, started, turn
from .test_codec import V


def test_server_end_to_end(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENT_MS", 600_000)  # a loss shows by the connection's end

    async def run() -> None:
        channel, log, task = await started(address)
        await asyncio.sleep(0.1)
        assert not channel.send(GENERATE)  # nobody there: refused, not queued
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        assert channel.connected
        assert channel.send(GENERATE)
        received: list[Received] = []
        while not received:
            received += await turn(engine, lambda: True) or engine.poll(0.01)
        for n in range(600):  # more than one burst
            engine.send(received[0].peer, Stats(7, n))
        await turn(engine, lambda: log.events[-1] == Stats(7, 599))
        assert log.events[1:] == [Stats(7, n) for n in range(600)]
        engine.close()
        closed = time.monotonic()
        while log.events[-1] != "down":
            await asyncio.sleep(0.001)
            assert time.monotonic() - closed < 60
        second = bind(address, epoch=8)
        await turn(second, lambda: log.events[-1] == ("up", 8))
        assert log.errors == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        second.close()
        assert log.events[-1] == "down"

    asyncio.run(run())


def test_a_silent_engine_is_lost(address: str) -> None:
    async def run() -> None:
        _, log, task = await started(address, silence_seconds=0.3)
        engine = bind(address)
        await turn(engine, lambda: log.events)
        for _ in range(2000):  # the engine's loop does not answer
            if len(log.events) > 1:
                break
            await asyncio.sleep(0.01)
        assert log.events[:2] == [("up", 7), "down"]
        await turn(engine, lambda: log.events[-1] == ("up", 7))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


def test_a_server_that_was_given_up_is_told_and_greets_again(address: str) -> None:
    """It may have been too slow for a while; its requests since then must not wait for ever."""

    async def run() -> None:
        channel, log, task = await started(address)
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        engine._lose(*engine.peers)
        for _ in range(3 * TOLERATED):
            channel.send(GENERATE)
        await turn(engine, lambda: log.events == [("up", 7), "down", ("up", 7)])
        assert channel.send(GENERATE)
        received: list[Received] = []
        while not received:
            received += engine.poll(0.01)
        assert received[-1].message == GENERATE
        engine._lose(*engine.peers)
        await turn(engine, lambda: log.events[3:] == ["down", ("up", 7)])  # without a request, by the next ping
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


def test_bad_frames_from_the_engine_are_dropped(address: str) -> None:
    async def run() -> None:
        _, log, task = await started(address)
        engine = bind(address)
        await turn(engine, lambda: log.events == [("up", 7)])
        (peer,) = engine.peers
        for frames in ([b"x"], [V, b"delta", b"\xc1"], encode(Ping(1)), [V, b"delta", pickle.dumps(1)]):
            engine._socket.send_multipart([peer, *frames])
        engine.send(peer, Drain())
        await turn(engine, lambda: log.events[-1] == Drain())
        assert log.errors == 4
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        engine.close()

    asyncio.run(run())


class Slow(Log):
    """Takes longer over a message than a burst may last: each burst is one message."""

    def received(self, message: Message) -> None:
        super().received(message)
        time.sleep(0.006)


def test_what_was_sent_does_not_multiply_what_is_read_in_a_round(address: str) -> None:
    """Each message sent has the socket looked at; while frames pile up that is still one burst for all of them."""

    async def run() -> int:
        log = Slow()
        channel = ServerChannel(address, log, build="b", server="s", ping_seconds=5.0)
        task = asyncio.create_task(channel.run())
        engine = bind(address)
        received = await turn(engine, lambda: log.events == [("up", 7)])
        channel.send(GENERATE)
        while not received:
            received += engine.poll(0.01)
            await asyncio.sleep(0)
        for n in range(100):
            engine.send(received[0].peer, Stats(7, n))
        for n in range(50):
            channel.send(Abort([str(n)]))
        most, before = 0, len(log.events)
        while log.events[-1] != Stats(7, 99):
            await asyncio.sleep(0)
            most, before = max(most, len(log.events) - before), len(log.events)
        engine.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return most

    assert asyncio.run(asyncio.wait_for(run(), 20)) <= 2
