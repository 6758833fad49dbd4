"""What a response is made of, streamed or whole; each endpoint writes it down in its own dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rustinfer.protocol.messages import TokenLogprob

from .choice import Part, TokenText
from .errors import ApiError, dump
from .served import Served

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Counts:
    """Tokens so far. Each prompt counts once, however many answers it gets."""

    prompt: int
    completion: int
    cached: int


@dataclass
class Finished:
    """A choice with all of its parts put together; `last` has its end."""

    text: str = ""
    tokens: list[TokenText] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    last: Part = field(default_factory=lambda: Part(""))

    @property
    def size(self) -> int:
        """About how many values are to be written down, and characters of text to be read."""
        top = len(self.tokens[0].top) if self.tokens else 0
        asked = len(self.prompt_logprobs[0][1]) if self.prompt_logprobs else 0
        scores = len(self.tokens) * (1 + top) + len(self.prompt_logprobs) * (1 + asked)
        return scores + len(self.last.embedding or ()) + len(self.text)

    def add(self, part: Part) -> None:
        self.text += part.text
        self.tokens += part.tokens
        self.prompt_logprobs += part.prompt_logprobs
        self.last = part


class Answer(ABC):
    """One response. Used once: what it has said so far decides what it says next."""

    served: Served
    kept: bool = False
    """Whether the body of a whole answer is still wanted when it has been sent."""
    retried: bool = False
    """Whether an engine died before it said anything of this, and another was asked."""

    @abstractmethod
    def events(self, parts: Sequence[tuple[int, Part]], counts: Callable[[], Counts]) -> bytes:
        """What a stream says about the new parts of its choices; empty where that is nothing yet."""

    @abstractmethod
    def closing(self, counts: Counts) -> bytes:
        """How a stream ends well."""

    @property
    def closes_slowly(self) -> bool:
        """Whether that, and what is said of the last parts, is better done in a thread."""
        return False

    def failure(self, error: ApiError) -> bytes:
        """How a stream ends that went wrong."""
        return event(dump(error.body())) + DONE

    @abstractmethod
    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        """The body of an answer that is not streamed, its choices in order. What they are made of is used up."""


def event(content: bytes) -> bytes:
    return b"data: " + content + b"\n\n"
