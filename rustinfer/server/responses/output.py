"""A response's output items as they grow, and the events that tell a stream of it."""

from __future__ import annotations

import copy
import secrets
from typing import Any

from ..tools.events import Arguments, Begin, Event, Reasoning, Text

Told = list[dict[str, Any]]


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


class Output:
    """`items` are the finished ones and the one that grows; the events are without their sequence numbers."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._growing: dict[str, Any] | None = None

    def take(self, event: Event, call_id: str, logprobs: list[Any]) -> Told:
        """More of the answer. `logprobs` are those of the text's tokens, where they are wanted."""
        if isinstance(event, Begin):
            return [*self.close(), *self._open(_call(event.name, call_id))]
        told = []
        if not self._fits(event):
            told = [*self.close(), *self._open(_message() if isinstance(event, Text) else _reasoning())]
        item, at = self._current()
        if isinstance(event, Arguments):
            item["arguments"] += event.text
            return [*told, {"type": "response.function_call_arguments.delta", **at, "delta": event.text}]
        part, place = item["content"][0], {**at, "content_index": 0}
        part["text"] += event.text
        if isinstance(event, Reasoning):
            return [*told, {"type": "response.reasoning_text.delta", **place, "delta": event.text}]
        part["logprobs"] = part["logprobs"] + logprobs
        return [*told, {"type": "response.output_text.delta", **place, "delta": event.text, "logprobs": logprobs}]

    def close(self, status: str = "completed") -> Told:
        """The growing item is whole, or cut off."""
        if self._growing is None:
            return []
        item, at = self._current()
        item["status"], self._growing = status, None
        end = {"type": "response.output_item.done", "output_index": at["output_index"], "item": item}
        if item["type"] == "function_call":
            whole = {"name": item["name"], "arguments": item["arguments"]}
            return [{"type": "response.function_call_arguments.done", **at, **whole}, end]
        part, place = item["content"][0], {**at, "content_index": 0}
        if item["type"] == "reasoning":
            return [{"type": "response.reasoning_text.done", **place, "text": part["text"]}, end]
        done = {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": part["logprobs"]}
        return [done, {"type": "response.content_part.done", **place, "part": part}, end]

    def ensure(self) -> Told:
        """An answer that says nothing is an empty message."""
        return [] if self.items else self._open(_message())

    def _fits(self, event: Event) -> bool:
        kinds = {Text: "message", Reasoning: "reasoning", Arguments: "function_call"}
        return self._growing is not None and self._growing["type"] == kinds[type(event)]

    def _open(self, item: dict[str, Any]) -> Told:
        self.items.append(item)
        self._growing = item
        # What is told now must not change when the item grows.
        shown = copy.deepcopy(item) | ({"content": []} if item["type"] == "message" else {})
        told: Told = [{"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": shown}]
        if item["type"] == "message":
            part = dict(item["content"][0])
            told.append({"type": "response.content_part.added", **self._current()[1], "content_index": 0, "part": part})
        return told

    def _current(self) -> tuple[dict[str, Any], dict[str, Any]]:
        assert self._growing is not None
        return self._growing, {"item_id": self._growing["id"], "output_index": len(self.items) - 1}


def _message() -> dict[str, Any]:
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    return {"id": new_id("msg"), "type": "message", "role": "assistant", "status": "in_progress", "content": [part]}


def _reasoning() -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": ""}]
    return {"id": new_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": content}


def _call(name: str, call_id: str) -> dict[str, Any]:
    head = {"id": new_id("fc"), "type": "function_call", "status": "in_progress"}
    return head | {"call_id": call_id, "name": name, "arguments": ""}
