"""Answers as server-sent events: `data: JSON` for each chunk, `data: [DONE]` at the end, after an error too."""

from __future__ import annotations

import logging
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .choice import Part
from .connection import abort
from .errors import ApiError, dump, internal_error
from .generate import ClientGone, Run, running
from .link import EngineLink
from .prepared import Prepared
from .pulse import Pulse

log = logging.getLogger(__name__)

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
                pulse = Pulse(run.job.poke, abort(scope))
                try:
                    parts = await run.parts()
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    started = True
                    await self._send(send, self._events(run, parts) if parts else KEEP_ALIVE)
                    while not run.done:
                        pulse.waiting()
                        parts = await run.parts()
                        pulse.sending()
                        await self._send(send, self._events(run, parts) if parts else KEEP_ALIVE)
                finally:
                    pulse.close()
            await self._send(send, self._closing(run), more=False)
        except ApiError as error:
            if not started:
                await error.response()(scope, receive, send)
                return
            await self._send(send, _error(error), more=False)
        except ClientGone:
            log.debug("a client left its stream")
        except Exception:
            log.exception("a stream failed")
            if not started:
                raise
            await self._send(send, _error(internal_error()), more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if body or not more:
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


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + dump(content) + b"\n\n"


def _error(error: ApiError) -> bytes:
    return _event(error.body()) + DONE
