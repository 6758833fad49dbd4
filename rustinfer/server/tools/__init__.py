"""Tool calls in a model's text: how each family of models writes them, and how a request asks for them."""

from __future__ import annotations

from .call import CallReader
from .events import Arguments, Begin, Event, Reasoning, Text
from .format import ToolFormat, ToolParser
from .tagged import TaggedParser

__all__ = ["Arguments", "Begin", "CallReader", "Event", "Reasoning", "TaggedParser", "Text", "ToolFormat", "ToolParser"]
