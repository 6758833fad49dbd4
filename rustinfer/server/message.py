"""One turn of a conversation, as clients send it and as chat templates read it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rustinfer.text.content import content_of

from .fields import Strict
from .openapi.forms import CONTENT, SPOKEN

MAX_CALLS = 128


class CalledFunction(Strict):
    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCall(Strict):
    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction

    def for_template(self) -> dict[str, Any]:
        """With the arguments as an object, which templates write in their own way."""
        arguments = self.function.arguments
        function = {"name": self.function.name, "arguments": _object(arguments)}
        return {"type": "function", "function": function, **({} if self.id is None else {"id": self.id})}


class Message(BaseModel):
    """Fields beyond these reach the chat template as they are."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=SPOKEN)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(content_of), WithJsonSchema(CONTENT)] = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        """As chat templates know it: developer is system, no content is an empty one."""
        written = self.model_dump(exclude_none=True, exclude={"tool_calls"})
        written["role"] = "system" if self.role == "developer" else self.role
        written["content"] = self.content or ""
        if self.tool_calls:
            written["tool_calls"] = [call.for_template() for call in self.tool_calls]
        return written


def _object(arguments: str | dict[str, Any]) -> Any:
    # What a model wrote badly goes back as it wrote it.
    if isinstance(arguments, dict):
        return arguments
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments
