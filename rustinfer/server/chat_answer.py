"""POST /v1/chat/completions: how it is answered."""

from __future__ import annotations

from typing import Any

from . import logprobs
from .answer import Counts, Finished
from .chat_request import ChatRequest
from .choice import Part, TokenText
from .chunks import ChunkedAnswer
from .echo import scored
from .reading import Reader, Reading
from .served import Served
from .tools.events import Arguments, Begin, Event, Reasoning, Text


class ChatAnswer(ChunkedAnswer):
    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(
        self, served: Served, request: ChatRequest, prompt: list[int], reading: Reading, top_logprobs: int | None
    ) -> None:
        super().__init__(served, request)
        self._request, self._prompt, self._reading, self._top = request, prompt, reading, top_logprobs
        self._readers: dict[int, Reader] = {}

    def opening(self, number: int) -> list[dict[str, Any]]:
        delta = {"role": "assistant", "content": ""}
        return [{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}]

    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        deltas = self._deltas(number, part)
        seen = self._logprobs(part.tokens)
        if not deltas and part.tokens:
            deltas = [{"content": ""}]
        found: list[dict[str, Any]] = []
        for delta in deltas:
            found.append({"index": number, "delta": delta, "logprobs": seen, "finish_reason": None})
            # The tokens of a part belong to its first chunk: none is told of twice.
            seen = None
        if part.finish_reason:
            end: dict[str, Any] = {"index": number, "delta": {}, "logprobs": None}
            calls = self._readers[number].calls if number in self._readers else 0
            reason = self._reading.finish_reason(part.finish_reason, calls)
            found.append(end | {"finish_reason": reason, "stop_reason": part.stop_reason})
        return found

    def choice(self, number: int, finished: Finished) -> dict[str, Any]:
        last, message = finished.last, self._message(finished.text)
        return {
            "index": number,
            "message": message,
            "logprobs": self._logprobs(finished.tokens),
            "finish_reason": self._reading.finish_reason(last.finish_reason, len(message.get("tool_calls", ()))),
            "stop_reason": last.stop_reason,
        }

    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        whole = super().whole(finished, counts)
        if self._request.prompt_logprobs is not None:
            found = [score for one in finished for score in one.prompt_logprobs]
            whole["prompt_logprobs"] = scored(self._prompt, found, self.served.tokenizer)
        return whole

    def _deltas(self, number: int, part: Part) -> list[dict[str, Any]]:
        if self._reading.plain:
            return [{"content": part.text}] if part.text else []
        reader = self._readers.setdefault(number, self._reading.reader())
        events = [*reader.push(part.text), *(reader.finish() if part.finish_reason else [])]
        return [self._delta(reader, event) for event in events]

    def _delta(self, reader: Reader, event: Event) -> dict[str, Any]:
        if isinstance(event, Text):
            return {"content": event.text}
        if isinstance(event, Reasoning):
            return {"reasoning": event.text, "reasoning_content": event.text}
        at = reader.told
        if isinstance(event, Begin):
            reader.told += 1
            return {"tool_calls": [{"index": at, **self._call(event.name)}]}
        return {"tool_calls": [{"index": at - 1, "function": {"arguments": event.text}}]}

    def _message(self, text: str) -> dict[str, Any]:
        if self._reading.plain:
            return said_by_assistant(text)
        reader = self._reading.reader()
        events = [*reader.push(text), *reader.finish()]
        said = "".join(e.text for e in events if isinstance(e, Text))
        thought = "".join(e.text for e in events if isinstance(e, Reasoning))
        calls = self._calls(events)
        message = said_by_assistant(said if said or not calls else None)
        if thought:
            message |= {"reasoning": thought, "reasoning_content": thought}
        return message | ({"tool_calls": calls} if calls else {})

    def _calls(self, events: list[Event]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        for event in events:
            if isinstance(event, Begin):
                calls.append(self._call(event.name))
            elif isinstance(event, Arguments):
                calls[-1]["function"]["arguments"] += event.text
        return calls

    def _call(self, name: str) -> dict[str, Any]:
        return {"id": self._reading.new_id(), "type": "function", "function": {"name": name, "arguments": ""}}

    def _logprobs(self, tokens: list[TokenText]) -> dict[str, Any] | None:
        return None if self._top is None else logprobs.chat(tokens, self.served.tokenizer, self._top)


def said_by_assistant(content: str | None) -> dict[str, Any]:
    """A message with the empty fields, too, that OpenAI's own always have."""
    return {"role": "assistant", "content": content, "refusal": None, "annotations": []}
