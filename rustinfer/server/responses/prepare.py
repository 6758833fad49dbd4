"""From a body of POST /v1/responses to a prepared chat, and the object that its answer grows in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .. import chat
from ..chat_request import REFUSED as CHAT_REFUSED
from ..chat_request import ChatRequest
from ..errors import ApiError, bad_request
from ..fields import ignored, validated
from ..prepared import Prepared
from ..served import Served
from .answer import ResponseAnswer
from .items import Messages, messages, refers
from .output import new_id
from .request import REFUSED, AllowedResponseTools, NamedResponseTool, ResponseRequest, ResponseTool, TextFormat

_RENAMED = {
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "response_format": "text",
    "reasoning_effort": "reasoning",
}
HONOURED = frozenset(ChatRequest.model_fields)
Keep = Callable[[dict[str, Any], Messages], None]


def read(body: dict[str, Any]) -> ResponseRequest:
    """The checked request. Raises ApiError."""
    request = validated(ResponseRequest, body, REFUSED)
    if request.background and (request.stream or not request.stored):
        raise bad_request("background excludes stream, and needs store.", "background")
    if request.max_output_tokens is not None and request.max_output_tokens < 1:
        raise bad_request("max_output_tokens must be at least 1.", "max_output_tokens")
    return request


def judge(body: dict[str, Any], served: Served) -> None:
    """What can be wrong with a request that refers to nothing stored. Raises ApiError."""
    request = read(body)
    if request.previous_response_id is None and not refers(request.input):
        prepare(request, [], served, lambda response, sent: None)


def prepare(request: ResponseRequest, before: Messages, served: Served, keep: Keep) -> Prepared:
    """`before` is the conversation that is continued; `keep` gets the finished response and the messages sent."""
    sent = [*before, *messages(request.input)]
    instructed = [{"role": "system", "content": request.instructions}] if request.instructions else []
    try:
        asked = validated(ChatRequest, _chat(request, instructed + sent), CHAT_REFUSED)
        found = chat.understand(asked, served)
    except ApiError as e:
        raise _renamed(e) from None
    unused = [name for name in ignored(request, {**CHAT_REFUSED, **REFUSED}) if name not in HONOURED]
    response = _response(request, asked, found, served)
    answer = ResponseAnswer(served, response, found.reading, found.top_logprobs, lambda whole: keep(whole, sent))
    return Prepared([found.prompt], found.sampling, answer, unused, **found.way, field="input")


def _chat(request: ResponseRequest, turns: Messages) -> dict[str, Any]:
    logprobs = request.top_logprobs is not None or request.wants_logprobs
    fields = {
        **(request.model_extra or {}),
        "model": request.model,
        "messages": turns,
        "max_completion_tokens": request.max_output_tokens,
        "parallel_tool_calls": request.parallel_tool_calls,
        "tools": [{"type": "function", "function": t.model_dump(exclude={"type"})} for t in request.tools or ()]
        or None,
        "tool_choice": _tool_choice(request),
        "stream": request.stream,
        "response_format": _format(request),
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
        "logprobs": logprobs or None,
        "top_logprobs": request.top_logprobs,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tool_choice(request: ResponseRequest) -> Any:
    choice = request.tool_choice
    if choice is None or isinstance(choice, str):
        return choice
    if isinstance(choice, AllowedResponseTools):
        allowed = {"mode": choice.mode, "tools": [_named(tool) for tool in choice.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return _named(choice)


def _named(tool: NamedResponseTool) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool.name}}


def _format(request: ResponseRequest) -> dict[str, Any] | None:
    form = request.text.format if request.text else None
    if form is None or form.type != "json_schema":
        return None if form is None else {"type": form.type}
    return {"type": form.type, "json_schema": {"name": form.name, "schema": form.json_schema}}


def _response(request: ResponseRequest, asked: ChatRequest, found: chat.Chat, served: Served) -> dict[str, Any]:
    form = request.text.format if request.text else None
    choice = request.tool_choice
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": bool(request.background),
        "error": None,
        "frequency_penalty": found.sampling.frequency_penalty,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": asked.metadata or {},
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "presence_penalty": found.sampling.presence_penalty,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": request.stored,
        "temperature": found.sampling.temperature,
        "text": {"format": _shown(form), "verbosity": "medium"},
        "tool_choice": (choice or "auto") if choice is None or isinstance(choice, str) else choice.model_dump(),
        "tools": [_tool(t) for t in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": found.sampling.top_p,
        "truncation": "disabled",
        "usage": None,
        # The published schema has no null here.
        **({} if asked.user is None else {"user": asked.user}),
    }


def _shown(form: TextFormat | None) -> dict[str, Any]:
    return {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)


def _tool(tool: ResponseTool) -> dict[str, Any]:
    return {**tool.model_dump(), "strict": bool(tool.strict)}


def _renamed(error: ApiError) -> ApiError:
    """A complaint of the chat's in the words of this endpoint."""
    message, param = error.message, error.param
    for old, new in _RENAMED.items():
        message = message.replace(old, new)
        param = new if param is not None and param.partition("[")[0] == old else param
    return ApiError(error.status, message, kind=error.kind, param=param, code=error.code, headers=error.headers)
