"""What goes wrong with text."""

from __future__ import annotations

from ..errors import UserError


class TextError(UserError):
    """A tokenizer that cannot be read, or a text that it cannot encode."""


class TemplateError(UserError):
    """A chat template that is missing, broken or unsafe, or that refuses the messages it was given."""
