"""Around each request: its id, the count of its answer, and an answer where something went wrong inside."""

from __future__ import annotations

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import internal_error
from .metrics import Metrics

log = logging.getLogger(__name__)
_FIT = re.compile(r"[!-~]{1,128}")


class Trace:
    """ASGI middleware, the outermost. Echoes a fit X-Request-Id or makes one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if _FIT.fullmatch(given) else uuid.uuid4().hex
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = id
                self._metrics.http.labels(str(message["status"])).inc()
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            log.exception("request %s failed", id)
            if not started:
                await internal_error().response()(scope, receive, send_on)
        return None
