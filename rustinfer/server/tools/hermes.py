"""Hermes, Qwen and many others: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

from __future__ import annotations

from collections.abc import Collection

from .format import ToolFormat
from .tagged import TaggedParser


def parser(names: Collection[str]) -> TaggedParser:
    return TaggedParser(names, "<tool_call>", "</tool_call>")


HERMES = ToolFormat("hermes", "<tool_call>", parser, special_tokens=True)
