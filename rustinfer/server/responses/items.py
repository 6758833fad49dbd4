"""Input items to the messages of a chat, and back from what was said to the messages that a next request continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rustinfer.text.content import text_of

from ..errors import ApiError, bad_request

Item = dict[str, Any]
Messages = list[dict[str, Any]]
_TEXTS = ("input_text", "output_text", "text", "reasoning_text")


def resolved(given: str | list[Item], known: Callable[[], Mapping[str, Item]]) -> str | list[Item]:
    """The input with the items themselves where it only refers to them, each once. Raises ApiError 400."""
    if isinstance(given, str) or not refers(given):
        return given
    left = dict(known())
    return [_referred(left, item, f"input[{at}]") for at, item in enumerate(given)]


def _referred(left: dict[str, Item], item: Item, at: str) -> Item:
    if _kind(item) != "item_reference":
        return item
    found = left.pop(id := _string(item, "id", at), None)
    if found is None:
        raise _bad(f"{at}.id", f"no stored response has an item {id[:100]!r} that is not referred to already")
    return found


def refers(given: str | list[Any]) -> bool:
    """Whether any of it is an item of a stored response."""
    return not isinstance(given, str) and any(_kind(item) == "item_reference" for item in given)


def _kind(item: Item) -> Any:
    if (kind := item.get("type")) is not None:
        return kind
    return "message" if "role" in item or "id" not in item else "item_reference"


def messages(given: str | list[dict[str, Any]]) -> Messages:
    """Raises ApiError 400 naming the item."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    found: Messages = []
    for at, item in enumerate(given):
        _add(found, item, f"input[{at}]")
    return found


def _add(found: Messages, item: dict[str, Any], at: str) -> None:
    kind = _kind(item)
    if kind == "message":
        if item.get("role") not in ("user", "assistant", "system", "developer"):
            raise _bad(f"{at}.role", "must be user, assistant, system or developer")
        found.append({"role": item["role"], "content": _content(item.get("content"), f"{at}.content")})
    elif kind == "function_call":
        called(found, *(_string(item, key, at) for key in ("call_id", "name", "arguments")))
    elif kind == "function_call_output":
        content = _content(item.get("output"), f"{at}.output")
        found.append({"role": "tool", "tool_call_id": _string(item, "call_id", at), "content": content})
    elif kind != "reasoning":  # thoughts are not given back to the model
        raise _bad(f"{at}.type", "must be message, function_call, function_call_output or reasoning")


def called(found: Messages, id: str, name: str, arguments: str) -> None:
    """Add a call to the assistant's turn, which may have more of them."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": None})
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    found[-1] = {**found[-1], "tool_calls": [*found[-1].get("tool_calls", ()), call]}


def said(output: list[dict[str, Any]]) -> Messages:
    """The assistant's turn in a response's output."""
    found: Messages = []
    for at, item in enumerate(output):
        _add(found, item, f"output[{at}]")
    return found


def _content(value: Any, at: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _bad(at, "must be a string or a list of parts")
    return "".join(_part(part, f"{at}[{i}]") for i, part in enumerate(value))


def _part(part: Any, at: str) -> str:
    if (text := text_of(part, _TEXTS)) is None:
        raise _bad(at, "must be text: this model reads nothing else")
    return text


def _string(item: dict[str, Any], key: str, at: str) -> str:
    if not isinstance(value := item.get(key), str):
        raise _bad(f"{at}.{key}", "must be a string")
    return value


def _bad(param: str, message: str) -> ApiError:
    return bad_request(f"{param}: {message}.", param)
