"""What `LLM` is asked to continue or to answer, as token ids."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import countOf
from typing import Any

import numpy as np

from .engine.sequence import numbers
from .errors import UserError
from .text import ChatTemplate, Tokenizer
from .text.content import content_of

Prompt = str | Mapping[str, Any]
"""A text, {"prompt": text} or {"prompt_token_ids": ids}."""
Message = Mapping[str, Any]
Encoded = tuple[str | None, list[int], Sequence[int]]
"""The text, if there is one, and its tokens: as a list, and as the engine keeps them."""


class Prompts:
    """Reads prompts and conversations for one model. Raises UserError for what is neither."""

    def __init__(self, tokenizer: Tokenizer | None, template: ChatTemplate) -> None:
        self._tokenizer, self._template = tokenizer, template

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's. Raises UserError for a model of random weights, which has none."""
        if self._tokenizer is None:
            raise UserError('this model has no tokenizer: give prompts as {"prompt_token_ids": [...]}')
        return self._tokenizer

    def encode(self, prompt: Prompt) -> Encoded:
        """A prompt's tokens."""
        if isinstance(prompt, str):
            return self._tokenized(prompt)
        if not isinstance(prompt, Mapping) or not ("prompt" in prompt or "prompt_token_ids" in prompt):
            raise UserError('a prompt must be a string, {"prompt": text} or {"prompt_token_ids": ids}')
        text = prompt.get("prompt")
        if "prompt_token_ids" not in prompt:
            return self._tokenized(text)  # type: ignore[arg-type]
        ids = prompt["prompt_token_ids"]
        if not isinstance(ids, Sequence) or not whole(ids, tokens := numbers(ids)):
            raise UserError("prompt_token_ids must be a list of integers")
        return text, list(ids), tokens

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any]) -> Encoded:
        """A conversation's tokens, by the chat template, which is given these variables."""
        if not isinstance(messages, Sequence) or not all(isinstance(message, Mapping) for message in messages):
            raise UserError('a conversation is a list of messages such as {"role": "user", "content": "Hello"}')
        if not messages:
            raise UserError("the conversation is empty: it must hold at least one message")
        text = self._template.render([_written(message) for message in messages], **variables)
        return self._tokenized(text, add_special_tokens=False)

    def _tokenized(self, text: str, **how: Any) -> Encoded:
        if not isinstance(text, str):
            raise UserError(f"a prompt's text must be a string, not {text!r}")
        ids = self.tokenizer.encode(text, **how)
        return text, ids, numbers(ids)


def whole(ids: Sequence[Any], tokens: Sequence[int]) -> bool:
    """Whether ids are integers. An array of them holds nothing else, but True and False among its ones and zeros."""
    if isinstance(tokens, array) and np.minimum.reduce(np.frombuffer(tokens, np.int64), initial=2) > 1:
        return True
    return countOf(map(type, ids), int) == len(ids)


def _written(message: Message) -> Message:
    """As chat templates know it: no content is an empty one."""
    try:
        return {**message, "content": content_of(message.get("content")) or ""}
    except ValueError as error:
        raise UserError(f"a message's content {error}") from None
