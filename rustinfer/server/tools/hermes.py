"""Hermes, Qwen and many others: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

from __future__ import annotations

from functools import partial

from .format import ToolFormat
from .tagged import TaggedParser

PARSER = partial(TaggedParser, opening="<tool_call>", closing="</tool_call>")
HERMES = ToolFormat("hermes", "<tool_call>", PARSER, special_tokens=True)
