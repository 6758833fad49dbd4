"""The shape that chat and completions share: choices, and a stream of chunks that ends with [DONE]."""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from .answer import DONE, Answer, Counts, Finished, event
from .choice import Part
from .errors import dump
from .generation import Generation, StreamOptions
from .large import drop
from .served import Served


class ChunkedAnswer(Answer):
    """The two dialects fill in the shape of a choice."""

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, served: Served, request: Generation) -> None:
        self.served = served
        asked = request.stream_options or StreamOptions()
        self._usage, self._running_usage = asked.include_usage, asked.continuous_usage_stats
        head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "object": self.whole_object, "created": int(time.time())}
        self.head = head | {"model": request.model, "system_fingerprint": f"fp_{served.fingerprint[:12]}"}
        if request.service_tier is not None:
            self.head["service_tier"] = "default"
        # What all chunks of a stream begin with is written once.
        self._chunk_head = dump({**self.head, "object": self.chunk_object})[:-1] + b',"choices":'
        self._opened: set[int] = set()

    @abstractmethod
    def opening(self, number: int) -> list[dict[str, Any]]:
        """The choices of the chunks sent before any text of choice `number`."""

    @abstractmethod
    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        """The choices of the chunks that carry a part; none where there is nothing to say yet."""

    @abstractmethod
    def choice(self, number: int, finished: Finished) -> dict[str, Any]:
        """A finished choice of a whole answer."""

    def events(self, parts: Sequence[tuple[int, Part]], counts: Callable[[], Counts]) -> bytes:
        choices: list[dict[str, Any]] = []
        for number, part in parts:
            if number not in self._opened:
                self._opened.add(number)
                choices += self.opening(number)
            choices += self.pieces(number, part)
        running = usage(counts()) if self._running_usage else None
        return b"".join(self._chunk([c], running) for c in choices)

    def closing(self, counts: Counts) -> bytes:
        return (self._chunk([], usage(counts)) if self._usage else b"") + DONE

    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        choices = []
        for number, one in enumerate(finished):
            choices.append(self.choice(number, one))
            drop(one.tokens)
        return self.written(choices, counts)

    def written(self, choices: list[dict[str, Any]], counts: Counts) -> dict[str, Any]:
        """A whole answer of these choices."""
        return {**self.head, "choices": choices, "usage": usage(counts)}

    def _chunk(self, choices: list[dict[str, Any]], counts: dict[str, Any] | None) -> bytes:
        shown = self._usage or self._running_usage
        tail = b',"usage":' + dump(counts) + b"}" if shown else b"}"
        return event(self._chunk_head + dump(choices) + tail)


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
    }
