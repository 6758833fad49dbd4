"""Answers as server-sent events: `data: JSON` for each chunk, `data: [DONE]` at the end, after an error too."""

from __future__ import annotations

import asyncio
import logging

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .choice import Part
from .connection import abort
from .errors import ApiError, internal_error
from .generate import Run, running
from .job import ClientGone
from .link import EngineLink
from .prepared import Prepared
from .pulse import Pulse

log = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"


class EventStream(Response):
    """Runs the request while it is being sent, and ends with it."""

    def __init__(self, link: EngineLink, prepared: Prepared) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(None, 200, headers, "text/event-stream")
        del self.headers["content-length"]
        self._link, self._prepared = link, prepared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with running(self._link, self._prepared, receive) as run:
                pulse = Pulse(run.job.poke, abort(scope))
                try:
                    parts = await run.parts()
                    run.job.told = True
                    self.headers.update(self._prepared.headers)
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    started = True
                    await self._send(send, await self._events(run, parts) if parts else KEEP_ALIVE)
                    while not run.done:
                        pulse.waiting()
                        parts = await run.parts()
                        pulse.sending()
                        await self._send(send, await self._events(run, parts) if parts else KEEP_ALIVE)
                finally:
                    pulse.close()
            await self._send(send, await self._closing(run), more=False)
        except ApiError as error:
            if not started:
                await error.response()(scope, receive, send)
                return
            await self._send(send, self._prepared.answer.failure(error), more=False)
        except ClientGone:
            log.debug("a client left its stream")
        except Exception:
            log.exception("a stream failed")
            if not started:
                raise
            await self._send(send, self._prepared.answer.failure(internal_error()), more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        if body or not more:
            await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _events(self, run: Run, parts: list[tuple[int, Part]]) -> bytes:
        answer = self._prepared.answer
        if run.done and answer.closes_slowly:
            return await asyncio.to_thread(answer.events, parts, run.counts)
        return answer.events(parts, run.counts)

    async def _closing(self, run: Run) -> bytes:
        answer, counts = self._prepared.answer, run.counts()
        return await asyncio.to_thread(answer.closing, counts) if answer.closes_slowly else answer.closing(counts)
