"""Around each request: its id, the count of its answer, and an answer where something went wrong inside."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .caller import CALLER
from .errors import internal_error
from .metrics import Metrics

log = logging.getLogger(__name__)
requests = logging.getLogger("rustinfer.requests")
_FIT = re.compile(r"[!-~]{1,128}")


class Trace:
    """ASGI middleware, the outermost. Echoes a fit X-Request-Id or makes one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, log_requests: bool = False) -> None:
        self._app, self._metrics, self._log_requests = app, metrics, log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if _FIT.fullmatch(given) else uuid.uuid4().hex
        began, status, started = time.monotonic(), 500, False
        scope.setdefault("state", {})["request_id"] = id

        async def send_on(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = id
                self._metrics.http.labels(str(message["status"])).inc()
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            log.exception("request %s failed", id)
            if not started:
                await internal_error().response()(scope, receive, send_on)
        if self._log_requests:
            _tell(scope, id, status, time.monotonic() - began)
        return None


def _tell(scope: Scope, id: str, status: int, seconds: float) -> None:
    """One line, without any of the request's text; the path is cut, and the log escapes its control characters."""
    method, path = scope["method"], scope["path"][:200]
    facts = {"request_id": id, "method": method, "path": path, "status": status, "seconds": round(seconds, 4)}
    requests.info(
        "%s %s %d in %.0f ms", method, path, status, seconds * 1e3, extra=facts | {"caller": CALLER.get() or None}
    )
