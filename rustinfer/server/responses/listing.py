"""The items before a response, a page at a time, as GET /v1/responses/{id}/input_items gives them."""

from __future__ import annotations

from typing import Any

from ..errors import bad_request
from .items import Item, Messages
from .request import Listing

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def listed(messages: Messages) -> list[Item]:
    """The items that these messages came from, in their order; their ids say where they stand."""
    found = [item for message in messages for item in _items(message)]
    return [{"id": f"{_PREFIXES[item['type']]}_{at}", "status": "completed", **item} for at, item in enumerate(found)]


def page(items: list[Item], asked: Listing) -> dict[str, Any]:
    """The list object. Raises ApiError 400."""
    left = _after(items if asked.order == "asc" else items[::-1], asked.after)
    data = left[: asked.limit]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": len(left) > len(data)}


def _after(items: list[Item], id: str | None) -> list[Item]:
    if id is None:
        return items
    for at, item in enumerate(items):
        if item["id"] == id:
            return items[at + 1 :]
    raise bad_request("after must be the id of an item of this list.", "after")


def _items(message: dict[str, Any]) -> list[Item]:
    if message["role"] == "tool":
        head = {"type": "function_call_output", "call_id": message["tool_call_id"]}
        return [{**head, "output": message["content"]}]
    kind = "output_text" if message["role"] == "assistant" else "input_text"
    part = {"type": kind, "text": message["content"]} | ({"annotations": []} if kind == "output_text" else {})
    said = [{"type": "message", "role": message["role"], "content": [part]}] if message["content"] else []
    calls = [{"type": "function_call", "call_id": c["id"], **c["function"]} for c in message.get("tool_calls", ())]
    return [*said, *calls]
