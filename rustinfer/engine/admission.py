"""Which requests can be run at all, and where a sequence ends."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import chain
from math import inf

import numpy as np

from ..protocol.messages import FinishReason
from ..protocol.sampling import SamplingParams
from .errors import RequestRefused
from .sequence import Request, Sequence, numbers


@dataclass(frozen=True)
class Admission:
    """The model's and the cache's bounds, in tokens; `queue` is the most sequences that may wait (None: any number)."""

    vocab: int
    context: int
    capacity: int
    eos_ids: tuple[int, ...] = ()
    queue: int | None = None

    def check(self, request: Request, waiting: int = 0) -> int:
        """The most tokens that each of the request's sequences may produce. Raises RequestRefused."""
        length, asked = len(request.prompt), request.sampling.max_tokens
        if self.queue is not None and waiting + _newcomers(request) > self.queue:
            raise RequestRefused(
                "overloaded", f"{waiting} requests are waiting and at most {self.queue} may: try again later"
            )
        if not length:
            raise RequestRefused("empty_prompt", "the prompt is empty: it must hold at least one token")
        if not self._knows(request.prompt):
            bad = next(t for t in request.prompt if not 0 <= t < self.vocab)
            raise RequestRefused("out_of_vocabulary", f"token id {bad} is out of vocabulary (0 to {self.vocab - 1})")
        self._check_tokens(request.sampling)
        if length >= self.context and asked != 0:
            raise RequestRefused(
                "context_length_exceeded",
                f"the prompt has {length} tokens and the context only {self.context}, answer included",
            )
        room = self.capacity - length + 1  # the last token is never written to the cache
        limit = self.context - length if asked is None else min(asked, self.context - length)
        if room < 1 or (asked is not None and limit > room):
            raise RequestRefused(
                "cache_too_small",
                f"the request needs {length + max(limit, 1) - 1} tokens of cache and there are {self.capacity}: "
                "ask for fewer tokens or start with a larger --kv-cache-tokens",
            )
        return max(min(limit, room), 0)

    def _knows(self, prompt: Items[int]) -> bool:
        """Whether these are tokens. One look does: a negative number without its sign is larger than all."""
        ids = prompt if isinstance(prompt, array) else numbers(prompt)
        return isinstance(ids, array) and bool(np.maximum.reduce(np.frombuffer(ids, np.uint64)) < self.vocab)

    def _check_tokens(self, params: SamplingParams) -> None:
        words = params.bad_words_token_ids and set(chain.from_iterable(params.bad_words_token_ids))
        lists = (
            ("logit_bias", params.logit_bias),
            ("allowed_token_ids", params.allowed_token_ids),
            ("bad_words_token_ids", words),
        )
        for name, ids in lists:
            if ids and (bad := max(ids)) >= self.vocab:
                raise RequestRefused(
                    "out_of_vocabulary", f"{name} holds {bad}, which is out of vocabulary (0 to {self.vocab - 1})"
                )

    def ends(self, params: SamplingParams) -> frozenset[int]:
        """The tokens that end a sequence with these parameters. What a grammar ends, its end token ends."""
        goes_on = params.ignore_eos and params.structured_outputs is None
        return frozenset(params.stop_token_ids).union(() if goes_on else self.eos_ids)

    def end(self, sequence: Sequence, token: int) -> tuple[FinishReason | None, int | None]:
        """Why the sequence ends with this newest token (None: it does not), and the stop token's id if that is why."""
        params = sequence.request.sampling
        if token in sequence.ends:
            own = token in self.eos_ids and not (params.ignore_eos and token in params.stop_token_ids)
            return "stop", None if own else token
        return ("length" if sequence.generated >= sequence.limit else None), None


def _newcomers(request: Request) -> float:
    """Sequences for which there must be room in the queue; none where an earlier prompt has asked for them."""
    return request.together or request.sampling.sequences if request.together >= 0 else -inf
