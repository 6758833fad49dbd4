"""POST /v1/chat/completions: what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustinfer.protocol.sampling import SamplingParams

from .chat_answer import ChatAnswer
from .chat_prompt import prompt_text
from .chat_request import REFUSED, ChatRequest
from .errors import bad_request
from .fields import ignored, validated
from .form import schema_form
from .generation import check_logprobs
from .prepared import Prepared
from .reading import Reading
from .served import Served


@dataclass(frozen=True)
class Chat:
    """A chat request understood; `top_logprobs` is None where none are wanted."""

    prompt: list[int]
    sampling: SamplingParams
    reading: Reading
    top_logprobs: int | None
    way: dict[str, Any]


def prepare(body: dict[str, Any], served: Served) -> Prepared:
    """Everything that can be wrong with a chat request is found here. Raises ApiError."""
    request = validated(ChatRequest, body, REFUSED)
    found = understand(request, served)
    answer = ChatAnswer(served, request, found.prompt, found.reading, found.top_logprobs)
    return Prepared([found.prompt], found.sampling, answer, ignored(request, REFUSED), **found.way, field="messages")


def understand(request: ChatRequest, served: Served) -> Chat:
    """Its prompt and parameters. Raises ApiError."""
    count = _top_logprobs(request)
    wanted = request.wanted()
    text = prompt_text(request, wanted, served)
    prompt = served.encode(text, "messages", add_special_tokens=False)
    formed = request.form is not None
    reading = Reading(served, wanted, text, formed=formed)
    own: dict[str, Any] = {"max_tokens": _room(request, prompt, served), "logprobs": count}
    if wanted.forced:
        if formed:
            raise bad_request("response_format excludes a tool_choice that demands a call.", "tool_choice")
        own["structured_outputs"] = schema_form("tools", wanted.schema())
    if reading.shows_special_tokens:
        own["skip_special_tokens"] = False
    params = request.sampling(served, prompt_logprobs=request.prompt_logprobs, **own)
    return Chat(prompt, params, reading, count, request.way | ({"form": "tools"} if wanted.forced else {}))


def _room(request: ChatRequest, prompt: list[int], served: Served) -> int:
    param, asked = "max_tokens", request.max_tokens
    if request.max_completion_tokens is not None:
        param, asked = "max_completion_tokens", request.max_completion_tokens
    if asked is not None and asked < 1:
        raise bad_request(f"{param} must be at least 1.", param)
    return served.room(prompt, asked, None, param, "messages")


def _top_logprobs(request: ChatRequest) -> int | None:
    check_logprobs("top_logprobs", request.top_logprobs)
    check_logprobs("prompt_logprobs", request.prompt_logprobs)
    if request.top_logprobs and not request.logprobs:
        raise bad_request("top_logprobs needs logprobs to be true.", "top_logprobs")
    if request.stream and request.prompt_logprobs is not None:
        raise bad_request("prompt_logprobs cannot be streamed.", "prompt_logprobs")
    return (request.top_logprobs or 0) if request.logprobs else None
