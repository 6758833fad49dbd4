"""Names that this server answers to: a web page elsewhere may point a name of its own at 127.0.0.1 (DNS rebinding)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ApiError, bad_request

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
ANY = "*"


def allowed(bound: str, more: Iterable[str]) -> frozenset[str]:
    """The names to answer to, `bound` being the address to listen on; holds `ANY` where all will do."""
    named = frozenset(name.lower().strip("[]") for name in more)
    if not is_loopback(bound):
        return named or frozenset({ANY})
    return named | LOOPBACK | {bound.lower()}


def is_loopback(bound: str) -> bool:
    try:
        return ipaddress.ip_address(bound).is_loopback
    except ValueError:
        return bound.lower() == "localhost"


class Hosts:
    """ASGI middleware: refuses requests without exactly one Host header, and those for other names."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (error := self._refusal(scope)) is None:
            return await self._app(scope, receive, send)
        await error.response()(scope, receive, send)
        return None

    def _refusal(self, scope: Scope) -> ApiError | None:
        found = [value for name, value in scope["headers"] if name == b"host"]
        if len(found) > 1 or (not found and scope["http_version"] == "1.1"):
            return bad_request("The request needs exactly one Host header.", code="invalid_http")
        if ANY in self._names or not found or _name(found[0]) in self._names:
            return None
        return ApiError(421, "This server does not answer to that host name.", code="unknown_host")


def _name(host: bytes) -> str:
    """The header's value without its port."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text
