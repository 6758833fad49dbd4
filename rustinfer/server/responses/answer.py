"""POST /v1/responses: how it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import logprobs
from ..answer import Answer, Counts, Finished
from ..choice import Part
from ..errors import ApiError, dump
from ..large import INLINE, pieces
from ..reading import Reading
from ..served import Served
from .output import Output, Told


class ResponseAnswer(Answer):
    """`response` is the object that grows; `keep` gets it when it is whole."""

    kept = True

    def __init__(
        self,
        served: Served,
        response: dict[str, Any],
        reading: Reading,
        count: int | None,
        keep: Callable[[dict[str, Any]], None],
    ) -> None:
        self.served, self.response = served, response
        self._reading, self._reader, self._count, self._keep = reading, reading.reader(), count, keep
        self._output = Output()
        self._number = 0
        self._last: Part | None = None

    def events(self, parts: Sequence[tuple[int, Part]], counts: Callable[[], Counts]) -> bytes:
        told: Told = []
        if self._number == 0:
            for kind in ("response.created", "response.in_progress"):
                told.append({"type": kind, "response": self.response})
        for _, part in parts:
            told += self._take(part)
        return self._written(told)

    def closing(self, counts: Counts) -> bytes:
        response = self._end(counts)
        return self._written([{"type": f"response.{response['status']}", "response": response}])

    @property
    def closes_slowly(self) -> bool:
        """The tokens of thoughts are counted then, and log-probabilities are told several times over."""
        told = sum(len(part.get("logprobs", ())) for item in self._output.items for part in item.get("content", ()))
        return sum(map(len, self._thoughts)) + told * (1 + (self._count or 0)) > INLINE

    def failure(self, error: ApiError) -> bytes:
        self.response |= {"status": "failed", "error": {"code": error.code or "server_error", "message": error.message}}
        self._keep(self.response)
        return self._written([{"type": "response.failed", "response": self.response}])

    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        (one,) = finished
        last = one.last
        self._take(Part(one.text, one.tokens, last.finish_reason, last.stop_reason))
        return self._end(counts)

    def _take(self, part: Part) -> Told:
        events = [*self._reader.push(part.text), *(self._reader.finish() if part.finish_reason else [])]
        scores = self._scores(part)
        told: Told = []
        for event in events:
            told += self._output.take(event, self._reading.new_id(), scores)
            scores = []
        if part.finish_reason:
            self._last = part
            told += self._output.ensure()
            told += self._output.close("incomplete" if part.finish_reason == "length" else "completed")
        return told

    def _scores(self, part: Part) -> list[Any]:
        if self._count is None or not self._reading.plain:
            return []
        content: list[Any] = logprobs.chat(part.tokens, self.served.tokenizer, self._count)["content"]
        return content

    def _end(self, counts: Counts) -> dict[str, Any]:
        cut = self._last is not None and self._last.finish_reason == "length"
        self.response |= {
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else int(time.time()),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": self._output.items,
            "usage": self._usage(counts),
        }
        self._keep(self.response)
        return self.response

    @property
    def _thoughts(self) -> list[str]:
        return [item["content"][0]["text"] for item in self._output.items if item["type"] == "reasoning"]

    def _usage(self, counts: Counts) -> dict[str, Any]:
        return {
            "input_tokens": counts.prompt,
            "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
            "output_tokens": counts.completion,
            "output_tokens_details": {"reasoning_tokens": sum(len(self.served.plain_ids(t)) for t in self._thoughts)},
            "total_tokens": counts.prompt + counts.completion,
        }

    def _written(self, told: Told) -> bytes:
        lines, slow = b"", self.closes_slowly
        for event in told:
            numbered = event | {"sequence_number": self._number}
            self._number += 1
            content = b"".join(pieces(numbered)) if slow else dump(numbered)
            lines += b"event: " + str(event["type"]).encode() + b"\ndata: " + content + b"\n\n"
        return lines
