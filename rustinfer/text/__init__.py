"""Text on its way in and out: tokens, chat templates, and text put together again from tokens. Free of torch."""

from __future__ import annotations

from .errors import TemplateError, TextError
from .stream import TextDelta, TextStream
from .template import RESERVED, ChatTemplate
from .tokenizer import Tokenizer

__all__ = ["RESERVED", "ChatTemplate", "TemplateError", "TextDelta", "TextError", "TextStream", "Tokenizer"]
