"""Answers as server-sent events: `data: JSON` for each chunk, `data: [DONE]` at the end, after an error too."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .choice import Part
from .errors import ApiError, dump, internal_error
from .generate import ClientGone, Run, running
from .link import EngineLink
from .prepared import Prepared

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""How long the status line waits for the engine's first word, so that its refusal is a plain 4xx or 5xx."""
KEEP_ALIVE_SECONDS = 15.0
STALL_SECONDS = 60.0
"""A client that takes nothing for so long is given up."""
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """Runs the request while it is being sent, and ends with it."""

    def __init__(self, link: EngineLink, prepared: Prepared) -> None:
        super().__init__(None, 200, prepared.headers)
        del self.headers["content-length"]
        self.headers["content-type"] = "text/event-stream; charset=utf-8"
        self.headers["cache-control"] = "no-cache"
        self.headers["x-accel-buffering"] = "no"
        self._link, self._prepared = link, prepared
        self._opened: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with running(self._link, self._prepared, receive) as run:
                parts = await _within(run, FIRST_SECONDS)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                started = True
                await self._send(send, self._events(run, parts) if parts is not None else KEEP_ALIVE)
                while not run.done:
                    parts = await _within(run, KEEP_ALIVE_SECONDS)
                    await self._send(send, KEEP_ALIVE if parts is None else self._events(run, parts))
            await self._send(send, self._closing(run), more=False)
        except ApiError as error:
            if not started:
                await error.response()(scope, receive, send)
                return
            await self._send(send, _error(error), more=False)
        except (ClientGone, TimeoutError):
            log.debug("a client stopped reading its stream")
            if started:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception:
            log.exception("a stream failed")
            if not started:
                raise
            await self._send(send, _error(internal_error()), more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if body or not more:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": more})

    def _events(self, run: Run, parts: list[tuple[int, Part]]) -> bytes:
        answer, request = self._prepared.answer, self._prepared.request
        choices: list[dict[str, Any]] = []
        for number, part in parts:
            if number not in self._opened:
                self._opened.add(number)
                choices += answer.opening(number)
            choices += answer.pieces(number, part)
        usage = run.usage() if request.wants_running_usage else None
        shown = request.wants_usage or request.wants_running_usage
        return b"".join(_event(answer.chunk([c], usage, with_usage=shown)) for c in choices)

    def _closing(self, run: Run) -> bytes:
        if not self._prepared.request.wants_usage:
            return DONE
        return _event(self._prepared.answer.chunk([], run.usage(), with_usage=True)) + DONE


async def _within(run: Run, seconds: float) -> list[tuple[int, Part]] | None:
    """The next parts, or None where there are none in that time."""
    try:
        async with asyncio.timeout(seconds):
            return await run.parts()
    except TimeoutError:
        return None


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + dump(content) + b"\n\n"


def _error(error: ApiError) -> bytes:
    return _event(error.body()) + DONE
