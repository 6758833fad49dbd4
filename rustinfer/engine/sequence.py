"""A request, and each sequence that continues its prompt."""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Items
from dataclasses import dataclass
from enum import Enum
from struct import error, pack
from typing import TYPE_CHECKING

from ..protocol.messages import Pool
from ..protocol.sampling import SamplingParams
from .plain import is_simple
from .radix import Node

if TYPE_CHECKING:
    from .masks import Masks

Key = tuple[bytes, str]
"""A request's owner and id."""
TOKEN = array("q").itemsize
"""Bytes of one token id in a prefix-tree key."""


def numbers(tokens: Items[int]) -> Items[int]:
    """The same, in an array where they fit: looking at each of a long prompt then takes a tenth of the time."""
    try:
        return array("q", pack(f"{len(tokens)}q", *tokens))  # half the time of having the array look at each
    except error:  # refused when it is added, as any token is that is out of vocabulary
        return tokens


@dataclass(frozen=True)
class Request:
    """What to continue and how. `id` is unique among its owner's; only requests of the same `salt` share prefixes.

    With `pool` ("mean" or "last") nothing is continued: the prompt's hidden states are wanted, as one vector.
    `together` is as in the message Generate: for how many sequences there must be room. Where it is not `streamed`
    nobody reads its tokens before its end.
    """

    id: str
    prompt: Items[int]
    sampling: SamplingParams
    priority: int = 0
    owner: bytes = b""
    salt: str = ""
    pool: Pool = ""
    together: int = 0
    streamed: bool = True

    @property
    def key(self) -> Key:
        """What tells this request from every other in its engine."""
        return self.owner, self.id


class State(Enum):
    """COMPILING while its grammar is compiled, HELD until its first sibling has computed the prompt, then WAITING for
    pages, RUNNING, DONE.
    """

    COMPILING = "compiling"
    HELD = "held"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


def needs_values(params: SamplingParams) -> bool:
    """Whether the host must know a sequence's tokens so far to make the logits of its next step right."""
    return bool(params.bad_words_token_ids) or params.structured_outputs is not None


def is_penalized(params: SamplingParams) -> bool:
    """Whether any penalty is in force."""
    return params.presence_penalty != 0 or params.frequency_penalty != 0 or params.repetition_penalty != 1


class Sequence:
    """One continuation: its tokens, how many of them are in the cache, and the pages they lie in.

    `computed` tokens are in the cache once the steps that were launched are done, `settled` of them for sure: the
    difference is in flight. A step that computes all there is draws the next token, so that `computed` may run ahead of
    `tokens`, up to `last`. `needs_values` says that it must not: the host has to know each token before the next step.
    `steady` says that it may by several tokens. A token of `ends` ends it. It `arrived`, was `admitted` to its first
    step and `began` to speak at these times. Where it `guesses`, tokens may be guessed ahead; then it needs values,
    too. `matcher` is its place in the grammar that its output must fit, `scanned` how many of the prompt's tokens have
    got the log-probabilities that were asked for, `pooled` what is known of the prompt's vector (None where not
    wanted).

    The first `shared` of `pages` belong to the prefix tree (`node` is the end of that prefix, locked while we use it),
    the rest to this sequence. `row` is its line in the runner's page table while it runs, and `tabled` how many of its
    pages that line holds already. `order` is the arrival number; `rank` sorts: lower first.
    """

    __slots__ = (
        "admitted", "arrived", "began", "cached", "computed", "ends", "guesses", "index", "last", "limit", "matcher",
        "needs_values", "node", "order", "pages", "pooled", "prompt", "published", "rank", "request", "row",
        "scanned", "seed", "settled", "shared", "state", "steady", "tabled", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        index: int,
        order: int,
        limit: int,
        seed: int,
        arrived: float = 0.0,
        ends: frozenset[int] = frozenset(),
    ) -> None:
        self.request, self.index, self.order = request, index, order
        self.limit, self.seed, self.arrived, self.ends = limit, seed, arrived, ends
        self.rank: tuple[float, int, int] = (request.priority, order, index)
        self.tokens = array("q", request.prompt)
        self.prompt = len(request.prompt)
        self.last = self.prompt + max(limit, 1) - 1  # one that may produce nothing draws a token, too
        self.admitted: float | None = None
        self.began: float | None = None
        self.needs_values = needs_values(request.sampling)
        self.steady = is_simple(request.sampling)
        self.guesses = False
        self.matcher: Masks | None = None
        self.scanned = 0 if request.sampling.prompt_logprobs is not None and index == 0 else None
        self.pooled: list[float] | None = [] if request.pool else None
        self.state = State.WAITING
        self.computed = self.settled = self.cached = 0
        self.pages: list[int] = []
        self.shared = 0
        self.node: Node | None = None
        self.published = False
        self.row = -1
        self.tabled = 0

    @property
    def remaining(self) -> int:
        """Tokens that the next step could compute: one while decoding, whether its value is known yet or not."""
        return max(len(self.tokens) - self.computed, 1)

    @property
    def behind(self) -> bool:
        """Whether the next step computes tokens of it that are known, in a chunk, and not its newest one alone.

        A prompt that is pooled is computed so to its last token: chunks have the hidden states. And who has nothing in
        the cache does not decode, even if its whole prompt is one token that is computed again.
        """
        done, known = self.computed, len(self.tokens)
        return known - done > 1 or not done or (self.pooled is not None and done < self.last)

    @property
    def flying(self) -> bool:
        """Whether a step that computes some of it is in flight."""
        return self.computed != self.settled

    @property
    def has_values(self) -> bool:
        """Whether the host knows what the next step needs of one that `needs_values`."""
        return self.computed < len(self.tokens) and (self.matcher is None or self.matcher.ready)

    @property
    def drawing(self) -> int:
        """The number, from 0, of the token that the step being launched draws."""
        return self.computed - self.prompt

    @property
    def generated(self) -> int:
        """Tokens produced so far."""
        return len(self.tokens) - self.prompt

    def key(self, start: int, stop: int) -> bytes:
        """Tokens [start, stop) as a prefix-tree key."""
        return self.tokens[start:stop].tobytes()

    def __repr__(self) -> str:
        return (
            f"Sequence({self.request.id}/{self.index}, {self.state.value}, {self.computed}/{len(self.tokens)} tokens)"
        )
