"""Which requests can be run at all, and where a sequence ends."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.messages import FinishReason
from ..protocol.sampling import SamplingParams
from .errors import RequestRefused
from .sequence import Request, Sequence


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
        if self.queue is not None and waiting + request.sampling.n > self.queue:
            raise RequestRefused(
                "overloaded", f"{waiting} requests are waiting and at most {self.queue} may: try again later"
            )
        if not length:
            raise RequestRefused("empty_prompt", "the prompt is empty: it must hold at least one token")
        if min(request.prompt) < 0 or max(request.prompt) >= self.vocab:
            bad = next(t for t in request.prompt if not 0 <= t < self.vocab)
            raise RequestRefused("out_of_vocabulary", f"token id {bad} is out of vocabulary (0 to {self.vocab - 1})")
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

    def ends(self, params: SamplingParams) -> frozenset[int]:
        """The tokens that end a sequence with these parameters."""
        return frozenset(params.stop_token_ids).union(() if params.ignore_eos else self.eos_ids)

    def end(self, sequence: Sequence, token: int) -> tuple[FinishReason | None, int | None]:
        """Why the sequence ends with this newest token (None: it does not), and the stop token's id if that is why."""
        params = sequence.request.sampling
        if token in self.eos_ids and not params.ignore_eos:
            return "stop", None
        if token in params.stop_token_ids:
            return "stop", token
        return ("length" if sequence.generated >= sequence.limit else None), None
