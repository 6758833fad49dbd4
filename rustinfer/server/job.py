"""One HTTP request's sequences: what the engine made of them since the client last took something."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace

from rustinfer.protocol.messages import Generate, Output

from .errors import ApiError

AT_ONCE = 16
"""Choices whose news are dealt with before others have their turn."""
VALUES_AT_ONCE = 500
"""Tokens and their alternatives, likewise: writing these down takes two milliseconds."""


class ClientGone(Exception):
    """The client hung up; nobody reads what would be answered."""


class Job:
    """`len(prompts) * n` choices, numbered prompt by prompt. Holds at most what its token limits allow."""

    def __init__(self, ids: list[str], n: int, caller: str = "", share: int | None = None) -> None:
        self.ids, self.n, self.caller = ids, n, caller
        self.share = len(ids) if share is None else share
        """Of so many prompts the engine has the most at once."""
        self.open = set(range(len(ids) * n))
        """Choices of which the engine may still send something that is wanted."""
        self.unheard = set(range(len(ids[: self.share]) * n))
        """Choices of which the engine was asked, and has not told anything yet."""
        self.asked: list[Generate] = []
        """What the engine is asked, once it has its share of it."""
        self.later: deque[Generate] = deque()
        """The end of that, for when others of it have ended."""
        self.told = self.retried = False
        """Whether the client may know something of the answer; whether an engine is gone and a second was asked."""
        self.started = time.monotonic()
        self.last_output = 0.0
        self._pending: dict[int, Output] = {}
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def choice(self, prompt: int, index: int) -> int:
        return prompt * self.n + index

    def take(self, number: int, output: Output) -> None:
        """From the engine. A choice that is closed already, by a stop string say, takes nothing more.

        Outputs that come before the client takes them become one: a slow client costs little.
        """
        self.told = True
        if number not in self.open:
            return
        if (held := self._pending.setdefault(number, output)) is not output:
            _merge(held, output)
        if output.finish_reason is not None:
            self.open.discard(number)
        self._news.set()

    def fail(self, error: ApiError | ClientGone) -> None:
        """Whoever waits for news gets this at once, before what is pending: unless that is all of the answer."""
        if self._error is None and (self.open or isinstance(error, ClientGone)):
            self._error = error
            self.later.clear()
            self._news.set()

    @property
    def may_ask_again(self) -> bool:
        """Whether another engine may be asked: nothing of the answer is known, and it would be the first time."""
        return bool(self.asked) and not (self.told or self.retried or self.failed)

    @property
    def failed(self) -> bool:
        """Whether whoever waits for news gets an error instead."""
        return self._error is not None

    def poke(self) -> None:
        """Let whoever waits for news go on without any."""
        self._news.set()

    async def news(self) -> list[tuple[int, Output]]:
        """What is new, by choice, waiting for something: nothing after `poke`. Raises what `fail` was given.

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

    def _some(self) -> list[tuple[int, Output]]:
        found: list[tuple[int, Output]] = []
        room = VALUES_AT_ONCE
        for number in list(self._pending)[:AT_ONCE]:
            output = self._pending[number]
            width = 1 + len(output.logprobs[0][1]) if output.logprobs else 1
            size = len(output.token_ids)
            if size * width > room:
                return [*found, (number, _cut(output, max(room // width, 1)))] if size > 1 else found
            room -= size * width
            found.append((number, self._pending.pop(number)))
        return found


def _merge(held: Output, more: Output) -> None:
    held.token_ids += more.token_ids
    if more.logprobs:
        held.logprobs = held.logprobs or []
        held.logprobs += more.logprobs
    if more.prompt_logprobs:
        held.prompt_logprobs = held.prompt_logprobs or []
        held.prompt_logprobs += more.prompt_logprobs
    held.finish_reason, held.stop_reason = more.finish_reason, more.stop_reason
    held.cached_tokens, held.embedding = more.cached_tokens, more.embedding


def _cut(output: Output, count: int) -> Output:
    """Take the first tokens off. What ends a choice stays with its last ones."""
    first = replace(output, token_ids=output.token_ids[:count], finish_reason=None, stop_reason=None)
    del output.token_ids[:count]
    if output.logprobs:
        first.logprobs = output.logprobs[:count]
        del output.logprobs[:count]
    output.prompt_logprobs = None
    return first
