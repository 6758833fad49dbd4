"""How an endpoint writes its answers; the two dialects fill in the shape of a choice."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from typing import Any

from .choice import Part, TokenText
from .served import Served


class Answer(ABC):
    """One response, streamed or whole: its id, its time, its model."""

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, served: Served, model: str) -> None:
        self.served = served
        self.head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "object": self.whole_object,
            "created": int(time.time()),
        }
        self.head |= {"model": model, "system_fingerprint": f"fp_{served.fingerprint[:12]}"}
        self.chunk_head = {**self.head, "object": self.chunk_object}

    @abstractmethod
    def opening(self, number: int) -> list[dict[str, Any]]:
        """The choices of the chunks sent before any text of choice `number`."""

    @abstractmethod
    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        """The choices of the chunks that carry a part; none where there is nothing to say yet."""

    @abstractmethod
    def choice(self, number: int, text: str, tokens: list[TokenText], last: Part) -> dict[str, Any]:
        """A finished choice of a whole answer."""

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None, *, with_usage: bool) -> dict[str, Any]:
        return {**self.chunk_head, "choices": choices, **({"usage": usage} if with_usage else {})}

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        return {**self.head, "choices": choices, "usage": usage}


def usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    """Counts of tokens. Each prompt counts once, however many answers it gets."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
