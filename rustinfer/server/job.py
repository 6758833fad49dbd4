"""One HTTP request's sequences: what the engine made of them since the client last took something."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace

from rustinfer.protocol.messages import FinishReason, Generate, Output, TokenLogprob

from .errors import ApiError

AT_ONCE = 16
"""Choices whose news are dealt with before others have their turn."""
VALUES_AT_ONCE = 500
"""Tokens and their alternatives, likewise: writing these down takes two milliseconds."""


class ClientGone(Exception):
    """The client hung up; nobody reads what would be answered."""


@dataclass
class Piece:
    """New tokens of one choice. Outputs that come before the client takes them are merged: a slow one costs little."""

    choice: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: int | None = None
    cached_tokens: int = 0
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    embedding: list[float] | None = None

    @property
    def width(self) -> int:
        """Values that are told of a token."""
        return 1 + len(self.logprobs[0][1]) if self.logprobs else 1

    def cut(self, count: int) -> Piece:
        """Take the first tokens off. What ends a choice goes with its last ones."""
        piece = replace(self, token_ids=self.token_ids[:count], logprobs=self.logprobs[:count])
        piece.finish_reason = piece.stop_reason = None
        del self.token_ids[:count], self.logprobs[:count]
        self.prompt_logprobs = []
        return piece

    def add(self, output: Output) -> None:
        self.token_ids += output.token_ids
        self.logprobs += output.logprobs or ()
        self.prompt_logprobs += output.prompt_logprobs or ()
        self.finish_reason, self.stop_reason = output.finish_reason, output.stop_reason
        self.cached_tokens = output.cached_tokens
        self.embedding = output.embedding


class Job:
    """`len(prompts) * n` choices, numbered prompt by prompt. Holds at most what its token limits allow."""

    def __init__(self, ids: list[str], n: int, caller: str = "") -> None:
        self.ids, self.n, self.caller = ids, n, caller
        self.open = set(range(len(ids) * n))
        """Choices of which the engine may still send something that is wanted."""
        self.unheard = set(self.open)
        """Choices of which the engine has not told anything yet."""
        self.asked: list[Generate] = []
        """What the engine was asked, once it has all of it."""
        self.told = self.retried = False
        """Whether the client may know something of the answer; whether an engine is gone and a second was asked."""
        self.started = time.monotonic()
        self.last_output = 0.0
        self._pending: dict[int, Piece] = {}
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def choice(self, prompt: int, index: int) -> int:
        return prompt * self.n + index

    def take(self, number: int, output: Output) -> None:
        """From the engine. A choice that is closed already, by a stop string say, takes nothing more."""
        self.told = True
        if number not in self.open:
            return
        self._pending.setdefault(number, Piece(number)).add(output)
        if output.finish_reason is not None:
            self.open.discard(number)
        self._news.set()

    def fail(self, error: ApiError | ClientGone) -> None:
        """Whoever waits for pieces gets this at once, before anything that is still pending."""
        if self._error is None:
            self._error = error
            self._news.set()

    @property
    def may_ask_again(self) -> bool:
        """Whether another engine may be asked: nothing of the answer is known, and it would be the first time."""
        return bool(self.asked) and not (self.told or self.retried or self.failed)

    @property
    def failed(self) -> bool:
        """Whether whoever waits for pieces gets an error instead."""
        return self._error is not None

    def poke(self) -> None:
        """Let whoever waits for pieces go on without any."""
        self._news.set()

    async def pieces(self) -> list[Piece]:
        """What is new, waiting for something if nothing is: empty after `poke`. Raises what `fail` was given.

        Of many choices some come first, and the others after everybody else has had a turn.
        """
        if self._news.is_set():
            await asyncio.sleep(0)
        await self._news.wait()
        if self._error is not None:
            raise self._error
        found = self._some()
        if not self._pending:
            self._news.clear()
        return found

    def _some(self) -> list[Piece]:
        found: list[Piece] = []
        room = VALUES_AT_ONCE
        for number in list(self._pending)[:AT_ONCE]:
            piece = self._pending[number]
            if len(piece.token_ids) * piece.width > room:
                return [*found, piece.cut(max(room // piece.width, 1))] if len(piece.token_ids) > 1 else found
            room -= len(piece.token_ids) * piece.width
            found.append(self._pending.pop(number))
        return found
