"""Which tools a request offers, and whether the model may, must or must not call them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..fields import Strict

Mode = Literal["none", "auto", "required", "named"]
MAX_TOOLS = 128
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class Function(Strict):
    """`strict` is always honoured where a grammar writes the call, and left to the model otherwise."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    name: FunctionName


class NamedTool(Strict):
    """The one function that must be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Strict):
    """Some of the functions: the others stay as if they were not in `tools`."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(tool.function.name for tool in self.tools)


class AllowedChoice(Strict):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def choosing(named: type[Strict], allowed: type[Strict], shape: str) -> BeforeValidator:
    """For a word, a named function or several, so that a complaint is about what was meant."""

    def chosen(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value in ("none", "auto", "required")):
            return value
        for kind, form in (("function", named), ("allowed_tools", allowed)):
            if isinstance(value, dict) and value.get("type") == kind:
                return form.model_validate(value)
        raise ValueError(f'must be "none", "auto", "required" or {shape}')

    return BeforeValidator(chosen)


@dataclass(frozen=True)
class Wanted:
    """`functions` as templates take them. With `single`, at most one call is wanted."""

    mode: Mode = "none"
    functions: list[Function] = field(default_factory=list)
    name: str | None = None
    single: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.functions)

    @property
    def forced(self) -> bool:
        return self.mode in ("required", "named")

    def for_template(self) -> list[dict[str, Any]]:
        """The tools as chat templates expect them."""
        return [{"type": "function", "function": described(f)} for f in self.functions]

    def schema(self) -> dict[str, Any]:
        """What a forced answer must fit: the named function's arguments, or an array of calls."""
        if self.mode == "named":
            (chosen,) = [f for f in self.functions if f.name == self.name]
            return chosen.parameters or NO_PARAMETERS
        calls = [_call(f, f"#/items/anyOf/{at}/properties/parameters") for at, f in enumerate(self.functions)]
        limits = {"minItems": 1} | ({"maxItems": 1} if self.single else {})
        return {"type": "array", **limits, "items": {"anyOf": calls}}


def described(function: Function) -> dict[str, Any]:
    """A function without the fields that were left out."""
    parameters = function.parameters or {"type": "object", "properties": {}}
    return {"name": function.name, "description": function.description or "", "parameters": parameters}


def _call(function: Function, at: str) -> dict[str, Any]:
    properties = {"name": {"enum": [function.name]}, "parameters": _moved(function.parameters or NO_PARAMETERS, at)}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _moved(schema: Any, at: str) -> Any:
    """A schema that now stands at `at`: its references within itself begin there."""
    if isinstance(schema, list):
        return [_moved(part, at) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: at + part[1:] if key == "$ref" and isinstance(part, str) and part.startswith("#") else _moved(part, at)
        for key, part in schema.items()
    }
