"""The body of POST /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from ..chat_request import Effort
from ..fields import COMMON_REFUSED, Refused, Strict
from ..generation import Label
from ..openapi.forms import INPUT, STREAMED
from ..tools.wanted import MAX_TOOLS, FunctionName, choosing

MAX_ITEMS = 4096
REFUSED: Refused = {
    **{name: neutral for name, neutral in COMMON_REFUSED.items() if name != "store"},
    "conversation": (),
    "max_tool_calls": (),
    "n": (1,),
    "prompt": (),
    "context_management": (),
}
INCLUDES = ("message.output_text.logprobs", "reasoning.encrypted_content")
"""What `include` may hold; there is nothing encrypted here, so the second adds nothing."""


class ResponseTool(Strict):
    """A function, the only kind of tool that is the client's own."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedResponseTool(Strict):
    type: Literal["function"]
    name: FunctionName


class AllowedResponseTools(Strict):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedResponseTool], Field(min_length=1, max_length=MAX_TOOLS)]


class TextFormat(Strict):
    model_config = ConfigDict(populate_by_name=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    json_schema: Any = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class TextOptions(Strict):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningOptions(Strict):
    """There are no summaries here: the thoughts themselves are given."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Strict):
    include_obfuscation: bool | None = None


class Listing(BaseModel):
    """The query of a list's page: OpenAI's, whose lists begin with the newest."""

    order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: Label | None = None


class ResponseRequest(BaseModel):
    """Sampling parameters beyond these are passed on as they are, and checked as those of a chat are."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=STREAMED)

    model: str
    input: Annotated[
        str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)], WithJsonSchema(INPUT)
    ]
    instructions: str | None = None
    previous_response_id: Label | None = None
    max_output_tokens: int | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | NamedResponseTool | AllowedResponseTools | None,
        choosing(NamedResponseTool, AllowedResponseTools, '{"type": "function", "name": "..."}'),
    ] = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    top_logprobs: int | None = None
    include: list[Literal[INCLUDES]] | None = None  # type: ignore[valid-type]
    truncation: Literal["disabled"] | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None

    @property
    def stored(self) -> bool:
        return self.store is not False

    @property
    def wants_logprobs(self) -> bool:
        return INCLUDES[0] in (self.include or ())
