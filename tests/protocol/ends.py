"""The two ends in a test: an engine, a bare socket, a server, and what has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import zmq

from rustinfer.protocol.codec import encode
from rustinfer.protocol.dealer import ServerChannel
from rustinfer.protocol.messages import Generate, Message, Pong, Welcome
from rustinfer.protocol.router import EngineChannel, Received
from rustinfer.protocol.sampling import SamplingParams

from .test_codec import CARD

GENERATE = Generate("r", [1, 2], SamplingParams())


def bind(address: str, epoch: int = 7, **more: Any) -> EngineChannel:
    return EngineChannel(address, CARD, epoch=epoch, build="b", fingerprint="f", **more)


class Dealer:
    """A bare socket that says what it is told, well formed or not."""

    def __init__(self, address: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    def send(self, said: Message | list[bytes]) -> None:
        self.socket.send_multipart(said if isinstance(said, list) else encode(said))

    def close(self) -> None:
        self.context.destroy(linger=0)


def collect(engine: EngineChannel, until: Callable[[list[Received]], bool]) -> list[Received]:
    found: list[Received] = []
    end = time.monotonic() + 20
    while not until(found):
        assert time.monotonic() < end, found
        found += engine.poll(0.02)
    return found


class Log:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.errors = 0

    def engine_up(self, welcome: Welcome) -> None:
        self.events.append(("up", welcome.epoch))

    def engine_down(self, reason: str) -> None:
        self.events.append("down")

    def received(self, message: Message) -> None:
        if not isinstance(message, Pong):
            self.events.append(message)

    def dropped(self) -> None:
        self.errors += 1


async def turn(engine: EngineChannel, condition: Callable[[], object]) -> list[Received]:
    """Let both ends run in one loop until something holds."""
    found: list[Received] = []
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        found += engine.poll(0)
        await asyncio.sleep(0.002)
    return found


async def started(address: str, **more: Any) -> tuple[ServerChannel, Log, asyncio.Task[None]]:
    log = Log()
    channel = ServerChannel(address, log, build="b", server="s", **{"ping_seconds": 0.05, **more})
    return channel, log, asyncio.create_task(channel.run())
