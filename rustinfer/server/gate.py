"""Bodies larger than any prompt that fits are judged in a process of their own, which nobody else has to wait for.

A thread would not do: reading 32 MiB of JSON is one call that holds the interpreter's lock for a third of a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import Any

from rustinfer.protocol.codec import encode

from .errors import ApiError, bad_request
from .served import Served

log = logging.getLogger(__name__)
PLAIN_BYTES = 1 << 20
"""Up to so many no body is unusual."""
BYTES_PER_TOKEN = 16
"""More than the text of a prompt has, escapes included."""
PATIENCE_SECONDS = 30.0


def usual_bytes(served: Served) -> int:
    """Up to so many bytes a body may hold a prompt that fits."""
    return max(PLAIN_BYTES, BYTES_PER_TOKEN * served.card.context)


class Gate:
    """Keeps one such process once there was use for it. Used from one event loop."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._knows: Served | None = None
        self._turn = asyncio.Lock()

    async def check(
        self, raw: bytes | bytearray, prepare: Callable[..., Any], served: Served, names: Sequence[str] | None
    ) -> bytes | bytearray:
        """What there is to understand: usual bodies as they are, of others what somebody here knows.

        Raises the ApiError that understanding `raw` would end in, or 400 where that takes too long. `names` are the
        model's, None where any will do.
        """
        if len(raw) <= usual_bytes(served):
            return raw
        async with self._turn:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    verdict, known = await self._ask(raw, f"{prepare.__module__}:{prepare.__qualname__}", served, names)
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                log.warning("a request of %d bytes could not be understood in time", len(raw))
                self.close()
                raise bad_request("The request takes too long to understand.", code="request_too_complex") from None
        if verdict is not None:
            raise ApiError(**verdict)
        return known

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._process = self._knows = None

    async def _ask(
        self, raw: bytes | bytearray, name: str, served: Served, names: Sequence[str] | None
    ) -> tuple[Any, bytes]:
        process = self._process
        if process is None or self._knows is not served:
            self.close()
            command = (sys.executable, "-m", "rustinfer.server.gatekeeper")
            process = self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            self._knows = served
            await _send(process, *await asyncio.to_thread(encode, served.welcome))
        await _send(process, json.dumps([name, names]).encode(), raw)
        assert process.stdout is not None
        verdict = json.loads(await _read(process.stdout))
        return verdict, await _read(process.stdout)


async def _send(process: Process, *frames: bytes | bytearray) -> None:
    assert process.stdin is not None
    for frame in frames:
        process.stdin.write(len(frame).to_bytes(4))
        process.stdin.write(frame)
    await process.stdin.drain()


async def _read(pipe: asyncio.StreamReader) -> bytes:
    return await pipe.readexactly(int.from_bytes(await pipe.readexactly(4)))
