"""Llama 3: the answer is {"name": ..., "parameters": {...}}, perhaps after <|python_tag|>, several with ; between."""

from __future__ import annotations

from collections.abc import Collection

from .format import ToolFormat
from .tagged import TaggedParser


def parser(names: Collection[str]) -> TaggedParser:
    return TaggedParser(names, "<|python_tag|>", "<|eom_id|>", between=";", bare=True)


LLAMA = ToolFormat("llama", '"parameters": dictionary of argument name', parser, special_tokens=True)
