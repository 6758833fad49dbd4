"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .errors import bad_request
from .fields import COMMON_REFUSED, Refused
from .generation import Generation
from .message import Message
from .tools.wanted import MAX_TOOLS, AllowedChoice, NamedTool, Tool, Wanted, choosing

MAX_MESSAGES = 4096
REFUSED: Refused = {
    **COMMON_REFUSED,
    "audio": (),
    "best_of": (1,),
    "chat_template": (),
    "documents": ([],),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "prediction": (),
    "suffix": ("",),
    "thinking": (),
    "verbosity": ("medium",),
    "web_search_options": (),
}
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
ToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedTool | AllowedChoice | None,
    choosing(NamedTool, AllowedChoice, '{"type": "function", "function": {"name": "..."}}'),
]


class ChatRequest(Generation):
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def wanted(self) -> Wanted:
        """What is asked of the tools. Raises ApiError 400."""
        functions = [t.function for t in self.tools or ()]
        names = [f.name for f in functions]
        if len(set(names)) < len(names):
            raise bad_request("tools holds two functions of one name.", "tools")
        single = self.parallel_tool_calls is False
        choice = self.tool_choice if self.tool_choice is not None else "auto"
        if isinstance(choice, AllowedChoice):
            if unknown := sorted(choice.allowed_tools.names - set(names)):
                raise bad_request(f"tool_choice allows {unknown[0]!r}, which is not in tools.", "tool_choice")
            functions = [f for f in functions if f.name in choice.allowed_tools.names]
            return Wanted(choice.allowed_tools.mode, functions, None, single)
        if isinstance(choice, NamedTool):
            if choice.function.name not in names:
                raise bad_request(f"tool_choice names {choice.function.name!r}, which is not in tools.", "tool_choice")
            return Wanted("named", functions, choice.function.name, single=True)
        if choice == "none" or not functions:
            if choice == "required":
                raise bad_request('tool_choice "required" needs tools.', "tool_choice")
            return Wanted()
        return Wanted(choice, functions, None, single)
