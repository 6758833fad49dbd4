"""The body of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from .fields import COMMON_REFUSED, Refused
from .generation import Generation
from .openapi.forms import PROMPT

MAX_PROMPTS = 256
MAX_BEST_OF = 20
DEFAULT_MAX_TOKENS = 16
REFUSED: Refused = {**COMMON_REFUSED, "suffix": ("",)}
Prompt = str | list[int]


def prompts(value: Any, most: int = MAX_PROMPTS) -> list[Prompt]:
    """Text, token ids, or a list of either, as a list of prompts none of which is empty."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError("must be a string, a list of strings, a list of token ids or a list of such lists")
    if value and type(value[0]) is int:
        value = [value]
    if len(value) > most:
        raise ValueError(f"may hold at most {most} prompts")
    if not value or not all(value):
        raise ValueError("must not be empty")
    if not all(isinstance(p, str) or _ids(p) for p in value):
        raise ValueError("must be a string, a list of strings, a list of token ids or a list of such lists")
    return list(value)


def _ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(t) is int for t in value)


class CompletionRequest(Generation):
    prompt: Annotated[list[Any], BeforeValidator(prompts), WithJsonSchema(PROMPT)]
    logprobs: int | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_BEST_OF)] | None = None
    add_special_tokens: bool | None = None
