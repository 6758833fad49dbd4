"""POST /v1/responses, and what can be done with a response afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from ..caller import CALLER
from ..errors import JSON, ApiError, bad_request, internal_error, unavailable
from ..fields import validated
from ..generate import collect
from ..openai import generate, understood
from ..prepared import Prepared
from ..served import Served
from .answer import ResponseAnswer
from .items import Messages, resolved, said
from .listing import listed, page
from .prepare import judge, prepare, read
from .request import Listing
from .store import Entry, ResponseStore

MAX_BACKGROUND = 64


async def create(request: Request) -> Response:
    owner, store = CALLER.get(), _store(request)

    def prepared(body: dict[str, Any], served: Served) -> Prepared:
        asked = read(body)
        asked.input = resolved(asked.input, lambda: store.said(owner))
        before: Messages = []
        if asked.previous_response_id is not None:
            before = _previous(store, asked.previous_response_id, owner)

        def keep(response: dict[str, Any], sent: Messages) -> None:
            if asked.stored:
                made = said(response["output"]) if response["status"] != "failed" else []
                store.put(Entry(owner, dict(response), [*sent, *made], len(sent)))

        return prepare(asked, before, served, keep)

    made = await understood(request, prepared, judge)
    assert isinstance(made.answer, ResponseAnswer)
    if made.answer.response["background"]:
        return _in_background(request, made, owner)
    return await generate(request, made)


async def retrieve(request: Request) -> Response:
    if request.query_params.get("stream", "false").lower() not in ("false", "0"):
        raise bad_request("A stored response cannot be streamed again: its events are not kept.", "stream")
    return JSON(_entry(request).response)


async def delete(request: Request) -> Response:
    """What runs in the background ends: it would come back when it is done."""
    entry = _entry(request)
    id = str(entry.response["id"])
    _store(request).drop(id)
    if entry.task is not None:
        entry.task.cancel()
    return JSON({"id": id, "object": "response", "deleted": True})


async def cancel(request: Request) -> Response:
    """Only what runs in the background can be cancelled; what has ended there stays as it is."""
    entry = _entry(request)
    if not entry.response["background"]:
        raise bad_request("Only a response made with background=true can be cancelled.", "response_id")
    if entry.task is not None and not entry.task.done():
        entry.task.cancel()
        entry.response |= {"status": "cancelled"}
    return JSON(entry.response)


async def input_items(request: Request) -> Response:
    """The conversation that led to a response, a page at a time."""
    entry = _entry(request)
    asked = validated(Listing, dict(request.query_params), {})
    return JSON(page(listed(entry.messages[: entry.asked]), asked))


def _in_background(request: Request, made: Prepared, owner: str) -> Response:
    store, answer = _store(request), made.answer
    assert isinstance(answer, ResponseAnswer)
    if store.running >= MAX_BACKGROUND:
        message = f"{MAX_BACKGROUND} responses run in the background already. Try again shortly."
        raise unavailable(message, "overloaded")

    async def run() -> None:
        try:
            await collect(request.app.state.link, made, _never)
        except ApiError as e:
            answer.failure(e)
        except Exception:
            answer.failure(internal_error())
            raise

    entry = Entry(owner, answer.response, [], task=asyncio.create_task(run()))
    store.put(entry)
    return JSON(answer.response, headers=made.headers)


async def _never() -> Message:
    """Nobody hangs up on what runs in the background."""
    await asyncio.Event().wait()
    raise AssertionError("nothing sets the event")


def _entry(request: Request) -> Entry:
    id = request.path_params["id"]
    entry = _store(request).get(id, CALLER.get())
    if entry is None:
        raise ApiError(404, f"There is no response {id[:100]!r} here.", param="response_id", code="response_not_found")
    return entry


def _previous(store: ResponseStore, id: str, owner: str) -> Messages:
    entry = store.get(id, owner)
    if entry is None:
        message = f"previous_response_id: there is no response {id[:100]!r} here to continue."
        raise bad_request(message, "previous_response_id", "previous_response_not_found")
    if entry.response["status"] in ("in_progress", "failed", "cancelled"):
        message = f"previous_response_id: that response is {entry.response['status']} and cannot be continued."
        raise bad_request(message, "previous_response_id")
    return entry.messages


def _store(request: Request) -> ResponseStore:
    store: ResponseStore = request.app.state.responses
    return store
