"""API keys: every path needs one, whether or not something is there, but for the few that are listed."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .caller import CALLER
from .errors import ApiError
from .keys import Keys

PUBLIC = frozenset({"/health", "/livez", "/readyz", "/"})
"""Exact paths. The page at / holds nothing of anybody's: it asks for the key and sends it with each call."""


class Auth:
    """ASGI middleware. With no keys it lets everything pass."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._keys or scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        # The path as it was routed, never one put together from the Host header.
        if scope["type"] == "http" and ((caller := self._caller(scope)) is not None or scope["path"] in PUBLIC):
            CALLER.set(caller or "")
            return await self._app(scope, receive, send)
        if scope["type"] == "http":
            await _refusal().response()(scope, receive, send)
        return None

    def _caller(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        offered = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            offered = token.strip()
        return self._keys.find(offered.encode("latin-1"))


def _refusal() -> ApiError:
    message = "A valid API key is needed: send it as Authorization: Bearer KEY or X-Api-Key: KEY."
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, message, kind="authentication_error", code="invalid_api_key", headers=headers)
