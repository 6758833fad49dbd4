"""The model as the server knows it: its card, its tokenizer, its chat template."""

from __future__ import annotations

from rustinfer.protocol.messages import ModelCard, Welcome
from rustinfer.text import ChatTemplate, TemplateError, TextError, Tokenizer

from . import reasoning
from .errors import ApiError, bad_request
from .reasoning import ReasoningFormat
from .tools.format import ToolFormat, formats, suited
from .tools.hermes import HERMES

_NO_TOKENIZER = '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}'
"""Stands in where a model of random weights has none: every id is no text."""


class Served:
    """Built once per engine start, off the event loop: reading a large tokenizer takes a second."""

    def __init__(self, welcome: Welcome, previous: Served | None = None) -> None:
        self.welcome = welcome
        self.card: ModelCard = welcome.card
        self.build, self.fingerprint, self.epoch = welcome.build, welcome.fingerprint, welcome.epoch
        self.has_tokenizer = bool(self.card.tokenizer_json)
        source = self.card.tokenizer_json or _NO_TOKENIZER
        reuse = previous is not None and previous.tokenizer.source == source
        self.tokenizer: Tokenizer = previous.tokenizer if previous and reuse else Tokenizer(source)
        templates = self.card.chat_template or ""
        written = templates if isinstance(templates, str) else "\n".join(templates.values())
        self.reasoning: ReasoningFormat | None = reasoning.suited(written, reasoning.formats().values())
        self.tool_format: ToolFormat = suited(written, formats().values()) or HERMES
        self._broken: str | None = None
        self._template: ChatTemplate | None = None
        try:
            self._template = ChatTemplate(self.card.chat_template, **self.card.special_tokens)
        except TemplateError as e:
            self._broken = str(e)

    def answers_as(self, other: Served) -> bool:
        """Whether a request that was understood for the other may be run by this one."""
        mine, theirs = self.card, other.card
        names = ("id", "context", "vocab_size", "eos_ids", "tokenizer_json", "chat_template", "width")
        return all(getattr(mine, name) == getattr(theirs, name) for name in names)

    @property
    def template(self) -> ChatTemplate:
        if self._template is None:
            raise bad_request(f"{self._broken}.", "messages", "chat_template_missing")
        return self._template

    def encode(self, text: str, param: str, *, add_special_tokens: bool, to_run: bool = True) -> list[int]:
        """The ids of a prompt's text. Raises ApiError 400 where there are none, or far too many for one `to_run`."""
        if not self.has_tokenizer:
            raise bad_request("This model has no tokenizer: send token ids to /v1/completions.", param)
        if to_run:
            self._check_length(text, param)
        try:
            ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        except TextError as e:
            raise bad_request(f"{e}.", param) from None
        if not ids:
            raise bad_request("The prompt is empty.", param, "empty_prompt")
        return ids

    def _check_length(self, text: str, param: str) -> None:
        """Refuse what cannot fit without counting its tokens: that takes a second for each megabyte."""
        longest = self.tokenizer.longest
        if longest is not None and (size := len(text.encode())) > (most := longest * self.card.context):
            raise self._overflow(param, f"{param} has {size} bytes, and {most} is the most that could fit")

    def prompt_ids(self, prompt: str | list[int], param: str, *, add_special_tokens: bool) -> list[int]:
        """A prompt that is text or ids already, as ids. Raises ApiError 400."""
        if isinstance(prompt, str):
            return self.encode(prompt, param, add_special_tokens=add_special_tokens)
        self.check_ids(prompt, param)
        return prompt

    def plain_ids(self, text: str) -> list[int]:
        """The ids of a piece of text, with nothing added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def room(self, prompt: list[int], asked: int | None, default: int | None, param: str, field: str = "prompt") -> int:
        """The most tokens to generate after `prompt`. What was asked for outright must fit; a default is cut to fit.

        `param` is the name of what was asked for, `field` that of the prompt. Raises ApiError 400.
        """
        room = self.card.context - len(prompt)
        if asked is None:
            if room < 1:
                raise self._overflow(field, f"your prompt has {len(prompt)} tokens")
            return room if default is None else min(default, room)
        if asked > room:
            raise self._overflow(
                field, f"your prompt has {len(prompt)} and {param} asks for {asked} more", " or ask for fewer"
            )
        return asked

    def check_ids(self, prompt: list[int], param: str = "prompt") -> None:
        low, high = min(prompt), max(prompt)
        if low < 0 or high >= self.card.vocab_size:
            bad = low if low < 0 else high
            message = f"Token id {bad} is out of vocabulary (0 to {self.card.vocab_size - 1})."
            raise bad_request(message, param, "out_of_vocabulary")

    def _overflow(self, param: str, why: str, otherwise: str = "") -> ApiError:
        limit = f"This model's maximum context length is {self.card.context} tokens"
        message = f"{limit}; {why}. Shorten the prompt{otherwise}."
        return bad_request(message, param, "context_length_exceeded")
