"""The page at /: one document with its style and script inside, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

SCRIPTS = (
    "dom", "api", "store", "symbols", "math", "inline", "highlight", "markdown", "metrics", "plot", "conversations",
    "settings", "turns", "ask", "chat", "ops", "card", "tiles", "dashboard", "views", "attach", "main",
)  # fmt: skip
"""One script when served, put together in this order."""


async def index(_: Request) -> Response:
    document, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(document, media_type="text/html", headers=headers)


@cache
def _page() -> tuple[str, str]:
    web = files("rustinfer.server") / "web"
    style, html = ((web / name).read_text("utf-8") for name in ("style.css", "index.html"))
    script = "\n".join(['"use strict";', *((web / f"{name}.js").read_text("utf-8") for name in SCRIPTS)])
    document = html.replace("/*style*/", style).replace("/*script*/", script)
    policy = {
        "default-src": "'none'",
        "script-src": f"'sha256-{_hash(script)}'",
        "style-src": f"'sha256-{_hash(style)}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # No string may become HTML or script, whatever a later change of the page tries.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return document, "; ".join(f"{name} {value}" for name, value in policy.items())


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
