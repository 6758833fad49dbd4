"""Which other pages may call: none but those of `--allow-origin`."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from rustinfer.errors import UserError

from .errors import bad_request

ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)
"""As browsers send it: no path, not even a slash."""
EXPOSED = (
    *("X-Request-Id", "X-Ignored-Params", "X-Retried", "Retry-After"),
    *(f"X-RateLimit-{fact}-{kind}" for fact in ("Limit", "Remaining", "Reset") for kind in ("Requests", "Tokens")),
)
"""Headers of answers that such a page may read."""


def require_origin(text: str) -> None:
    """Raise UserError for what no browser calls an origin: it would let nobody call."""
    if not ORIGIN.fullmatch(text):
        raise UserError(f"--allow-origin {text}: write it as http://HOST or http://HOST:PORT, or * for any")


class Origins(CORSMiddleware):
    """ASGI middleware: Starlette's, whose refusals have the shape of all errors."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, allow_methods=("*",), allow_headers=("*",), expose_headers=EXPOSED)

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        refusal = bad_request("Pages of this origin may not call so.", code="cors_refused")
        own = ("content-length", "content-type")
        refusal.headers = {name: value for name, value in answer.headers.items() if name not in own}
        return refusal.response()
