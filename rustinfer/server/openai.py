"""The generating endpoints: read, understand, run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from . import body, chat, completions
from .errors import ApiError
from .generate import collect
from .job import ClientGone
from .large import respond
from .prepared import Prepared
from .served import Served
from .sse import EventStream

Made = TypeVar("Made")
Prepares = Callable[[dict[str, Any], Served], Made]
INLINE_BYTES = 4096
"""Longer bodies are parsed, templated and tokenised in a thread, so that open streams go on."""


async def chat_completions(request: Request) -> Response:
    return await generate(request, await understood(request, chat.prepare))


async def text_completions(request: Request) -> Response:
    return await generate(request, await understood(request, completions.prepare))


async def understood(
    request: Request, prepare: Prepares[Made], judge: Prepares[object] | None = None, *, runs: bool = True
) -> Made:
    """What `prepare` makes of the body and the model. Raises ApiError, before it looks where it could not be run.

    What is judged in another process, that can import `judge` where `prepare` is none of a module's.
    """
    options, link = request.app.state.options, request.app.state.link
    raw = await body.read(request, options.max_body)
    served = link.model()
    if runs:
        link.room.check()
    names = None if options.any_model else options.answers_to(served.card)
    raw = await request.app.state.gate.check(raw, judge or prepare, served, names)

    def understand() -> Made:
        content = body.parse(raw)
        check_name(content.get("model"), names)
        return prepare(content, served)

    return understand() if len(raw) <= INLINE_BYTES else await asyncio.to_thread(understand)


async def generate(request: Request, prepared: Prepared) -> Response:
    """Run it, streamed or whole."""
    link = request.app.state.link
    if prepared.stream:
        return EventStream(link, prepared)
    try:
        whole = await collect(link, prepared, request.receive)
        return await respond(whole, prepared.headers, kept=prepared.answer.kept)
    except ClientGone:
        return Response(status_code=499)


def check_name(name: Any, names: Sequence[str] | None) -> None:
    """Raises ApiError 404 for a name that is not among these (None: any); what is no text is left to validation."""
    if isinstance(name, str) and names is not None and name not in names:
        raise unknown_model(name)


def unknown_model(name: str) -> ApiError:
    message = f"The model {name[:100]!r} does not exist here; GET /v1/models lists what does."
    return ApiError(404, message, param="model", code="model_not_found")
