"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Any

from rustinfer.text import RESERVED, TemplateError

from . import logprobs
from .answer import Answer
from .chat_request import REFUSED, ChatRequest
from .choice import Part, TokenText
from .errors import bad_request
from .fields import check_logprobs, ignored, validated
from .prepared import Prepared
from .served import Served


class ChatAnswer(Answer):
    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, served: Served, model: str, top_logprobs: int | None) -> None:
        super().__init__(served, model)
        self._top = top_logprobs

    def opening(self, number: int) -> list[dict[str, Any]]:
        delta = {"role": "assistant", "content": ""}
        return [{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}]

    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if part.text or part.tokens:
            delta, seen = {"content": part.text}, self._logprobs(part.tokens)
            found.append({"index": number, "delta": delta, "logprobs": seen, "finish_reason": None})
        if part.finish_reason:
            end: dict[str, Any] = {"index": number, "delta": {}, "logprobs": None}
            found.append(end | {"finish_reason": part.finish_reason, "stop_reason": part.stop_reason})
        return found

    def choice(self, number: int, text: str, tokens: list[TokenText], last: Part) -> dict[str, Any]:
        return {
            "index": number,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(tokens),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }

    def _logprobs(self, tokens: list[TokenText]) -> dict[str, Any] | None:
        return None if self._top is None else logprobs.chat(tokens, self.served.tokenizer, self._top)


def prepare(body: dict[str, Any], served: Served) -> Prepared:
    """Everything that can be wrong with a chat request is found here. Raises ApiError."""
    request = validated(ChatRequest, body, REFUSED)
    count = _top_logprobs(request)
    prompt = _prompt(request, served)
    param, asked = "max_tokens", request.max_tokens
    if request.max_completion_tokens is not None:
        param, asked = "max_completion_tokens", request.max_completion_tokens
    if asked is not None and asked < 1:
        raise bad_request(f"{param} must be at least 1.", param)
    room = served.room(prompt, asked, None, param)
    params = request.sampling(served.card, max_tokens=room, logprobs=count)
    answer = ChatAnswer(served, request.model, count)
    return Prepared(request, [prompt], params, answer, ignored(request, REFUSED))


def _top_logprobs(request: ChatRequest) -> int | None:
    check_logprobs("top_logprobs", request.top_logprobs)
    if request.top_logprobs and not request.logprobs:
        raise bad_request("top_logprobs needs logprobs to be true.", "top_logprobs")
    return (request.top_logprobs or 0) if request.logprobs else None


def _prompt(request: ChatRequest, served: Served) -> list[int]:
    _check_turns(request)
    variables = request.chat_template_kwargs or {}
    if taken := sorted(variables.keys() & (RESERVED | {"self"})):
        raise bad_request(f"chat_template_kwargs may not set {', '.join(taken)}.", "chat_template_kwargs")
    messages = [m.for_template() for m in request.messages]
    try:
        text = served.template.render(
            messages,
            add_generation_prompt=request.add_generation_prompt is not False and not request.continue_final_message,
            continue_final_message=bool(request.continue_final_message),
            **variables,
        )
    except TemplateError as e:
        raise bad_request(f"{e}.", "messages") from None
    return served.encode(text, "messages", add_special_tokens=False)


def _check_turns(request: ChatRequest) -> None:
    for at, message in enumerate(request.messages):
        if message.content is None and not (message.role == "assistant" and message.tool_calls):
            raise bad_request(f"messages[{at}].content is required.", f"messages[{at}].content")
    if [m.role for m in request.messages[-2:]] == ["assistant", "assistant"]:
        raise bad_request("The last two messages are both the assistant's.", "messages")
    if request.continue_final_message and request.add_generation_prompt:
        raise bad_request("continue_final_message excludes add_generation_prompt.", "continue_final_message")
    if request.continue_final_message and request.messages[-1].role != "assistant":
        raise bad_request("continue_final_message needs the last message to be the assistant's.", "messages")
