"""POST /v1/completions."""

from __future__ import annotations

from typing import Any

from . import logprobs
from .answer import Answer
from .choice import Part, TokenText
from .completion_request import DEFAULT_MAX_TOKENS, REFUSED, CompletionRequest
from .errors import bad_request
from .fields import check_logprobs, ignored, validated
from .prepared import MAX_CHOICES, Prepared
from .served import Served


class CompletionAnswer(Answer):
    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, served: Served, model: str, count: int | None) -> None:
        super().__init__(served, model)
        self._count = count
        self._offsets: dict[int, int] = {}

    def opening(self, number: int) -> list[dict[str, Any]]:
        return []

    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        if not (part.text or part.tokens or part.finish_reason):
            return []
        offset = self._offsets.get(number, 0)
        self._offsets[number] = offset + sum(len(t.text) for t in part.tokens)
        choice = {"index": number, "text": part.text, "logprobs": self._logprobs(part.tokens, offset)}
        choice["finish_reason"] = part.finish_reason
        if part.finish_reason:
            choice["stop_reason"] = part.stop_reason
        return [choice]

    def choice(self, number: int, text: str, tokens: list[TokenText], last: Part) -> dict[str, Any]:
        return {
            "index": number,
            "text": text,
            "logprobs": self._logprobs(tokens, 0),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }

    def _logprobs(self, tokens: list[TokenText], offset: int) -> dict[str, Any] | None:
        if self._count is None:
            return None
        return logprobs.completion(tokens, self.served.tokenizer, self._count, offset)


def prepare(body: dict[str, Any], served: Served) -> Prepared:
    """Everything that can be wrong with a completion request is found here. Raises ApiError."""
    request = validated(CompletionRequest, body, REFUSED)
    check_logprobs("logprobs", request.logprobs)
    if len(request.prompt) * (request.n or 1) > MAX_CHOICES:
        raise bad_request(f"The prompts times n may be at most {MAX_CHOICES}.", "n")
    prompts = [_ids(p, request, served) for p in request.prompt]
    rooms = [served.room(p, request.max_tokens, DEFAULT_MAX_TOKENS, "max_tokens") for p in prompts]
    if request.max_tokens is not None and request.max_tokens < 0:
        raise bad_request("max_tokens must be at least 0.", "max_tokens")
    params = request.sampling(served.card, max_tokens=min(rooms), logprobs=request.logprobs)
    answer = CompletionAnswer(served, request.model, request.logprobs)
    return Prepared(request, prompts, params, answer, ignored(request, REFUSED))


def _ids(prompt: str | list[int], request: CompletionRequest, served: Served) -> list[int]:
    if isinstance(prompt, list):
        served.check_ids(prompt)
        return prompt
    return served.encode(prompt, "prompt", add_special_tokens=request.add_special_tokens is not False)
