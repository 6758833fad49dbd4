"""API keys: every path needs one, whether or not something is there, but for the few that are listed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ApiError

PUBLIC = frozenset({"/health", "/"})
"""Exact paths. The page at / holds nothing of anybody's: it asks for the key and sends it with each call."""


class Auth:
    """ASGI middleware. With no keys it lets everything pass."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._digests = [_digest(k.encode()) for k in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._digests or scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        # The path as it was routed, never one put together from the Host header.
        if scope["type"] == "http" and (scope["path"] in PUBLIC or self._known(Headers(scope=scope))):
            return await self._app(scope, receive, send)
        if scope["type"] == "http":
            await _refusal().response()(scope, receive, send)
        return None

    def _known(self, headers: Headers) -> bool:
        offered = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            offered = token.strip()
        digest = _digest(offered.encode("latin-1"))
        # Every key is compared, and digests have one length: the time tells nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches) and bool(offered)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _refusal() -> ApiError:
    message = "A valid API key is needed: send it as Authorization: Bearer KEY or X-Api-Key: KEY."
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, message, kind="authentication_error", code="invalid_api_key", headers=headers)
