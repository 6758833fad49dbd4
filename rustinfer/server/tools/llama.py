"""Llama 3: the answer is {"name": ..., "parameters": {...}}, perhaps after <|python_tag|>, several with ; between."""

from __future__ import annotations

from functools import partial

from .format import ToolFormat
from .tagged import TaggedParser

PARSER = partial(TaggedParser, opening="<|python_tag|>", closing="<|eom_id|>", between=";", bare=True)
LLAMA = ToolFormat("llama", '"parameters": dictionary of argument name', PARSER, special_tokens=True)
