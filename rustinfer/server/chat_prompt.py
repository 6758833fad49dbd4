"""A conversation as the model reads it."""

from __future__ import annotations

from typing import Any

from rustinfer.text import RESERVED, TemplateError

from .chat_request import ChatRequest
from .errors import bad_request
from .served import Served
from .tools.fallback import rewritten
from .tools.wanted import Wanted


def prompt_text(request: ChatRequest, wanted: Wanted, served: Served) -> str:
    """The rendered chat template. Raises ApiError 400."""
    _check_turns(request)
    messages = [m.for_template() for m in request.messages]
    tools = wanted.for_template()
    if not served.template.reads("tools"):
        messages, tools = rewritten(messages, wanted), []
    try:
        return served.template.render(
            messages,
            tools=tools,
            add_generation_prompt=request.add_generation_prompt is not False and not request.continue_final_message,
            continue_final_message=bool(request.continue_final_message),
            **_variables(request, served),
        )
    except TemplateError as e:
        raise bad_request(f"{e}.", "messages") from None


def _variables(request: ChatRequest, served: Served) -> dict[str, Any]:
    variables = dict(request.chat_template_kwargs or {})
    if taken := sorted(variables.keys() & (RESERVED | {"self"})):
        raise bad_request(f"chat_template_kwargs may not set {', '.join(taken)}.", "chat_template_kwargs")
    effort = request.reasoning_effort
    if effort is None:
        return variables
    reads = served.template.reads
    if not reads("reasoning_effort") and not reads("enable_thinking") and effort != "none":
        message = "reasoning_effort is not supported by this model: its chat template does not read it."
        raise bad_request(message, "reasoning_effort", "unsupported_parameter")
    return {"reasoning_effort": effort, "enable_thinking": effort != "none", **variables}


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
