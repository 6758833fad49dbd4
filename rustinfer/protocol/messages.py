"""The messages between server and engine, as frozen facts. How they are written down is `codec`'s business.

Text never crosses: prompts and completions are token ids; the server tokenises, decodes and matches stop strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .sampling import SamplingParams

VERSION = 7
"""The protocol's version: raised whenever a message changes, since both ends must agree on every field."""

FinishReason = Literal["stop", "length", "abort", "error"]
Pool = Literal["", "mean", "last"]
TokenLogprob = tuple[float, list[tuple[int, float]], int]
"""A token's log-probability, the best alternatives as (token id, log-probability), best first, and the token's rank.

The rank counts from 1, among all of the vocabulary; tokens as likely as this one do not count.
"""


def ranked(token: int, scored: TokenLogprob) -> list[tuple[int, float, int]]:
    """A place's tokens, each with its log-probability and rank: the one that stands there, then the best others."""
    logprob, best, rank = scored
    return [(token, logprob, rank), *((other, p, place) for place, (other, p) in enumerate(best, 1) if other != token)]


@dataclass(frozen=True)
class OpRow:
    """One binding of the running model: which kernel runs at `site`, and why each other one does not."""

    site: str
    op: str
    kernel: str
    refusals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """What a server must know of the model to speak for it. `created` is in Unix seconds; `context` in tokens.

    At most `sequences` run at once (0: nobody says).
    `width` is the length of its hidden states, `device` what people call its processor. `special_tokens` maps
    names such as bos_token to their text; `defaults` are the checkpoint's sampling defaults. The chat template may be
    several, by name. Of sequences at most `queue` may wait (None: any number). `failed_plugins` says
    why those of the engine that did not load did not.
    """

    id: str
    context: int
    vocab_size: int
    eos_ids: list[int]
    tokenizer_json: str
    chat_template: str | dict[str, str] | None
    special_tokens: dict[str, str]
    dtype: str
    page_size: int
    created: int
    root: str
    ops: list[OpRow] = field(default_factory=list)
    defaults: dict[str, int | float] = field(default_factory=dict)
    width: int = 0
    sequences: int = 0
    device: str = "cpu"
    queue: int | None = None
    failed_plugins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hello:
    """A server's first message. `version` is the protocol's, `build` the program's, `server` a name for logs."""

    version: int
    build: str
    server: str


@dataclass(frozen=True)
class Welcome:
    """The engine's answer to Hello. `epoch` is drawn at random at each engine start."""

    version: int
    build: str
    epoch: int
    fingerprint: str
    card: ModelCard


@dataclass(frozen=True)
class Generate:
    """Continue one prompt `sampling.sequences` times. `id` is unique among the sender's; lower priority runs first.

    Only requests of the same `salt` share cached prefixes: what is cached can be told from how long an answer takes.
    With `pool` the prompt's hidden states are wanted as one vector, their mean or the last one; nothing is generated.
    The first of several prompts asks for room for `together` sequences, those of all that come with it; they, and those
    that take the place of one of them, say -1. One that is alone says 0.
    """

    id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams
    priority: int = 0
    salt: str = ""
    pool: Pool = ""
    together: int = 0


@dataclass(frozen=True)
class Abort:
    """Stop these requests and free what they hold; where `index` is set, only that one sequence of each.

    Unknown and finished ids are fine; the answer is `Aborted` with the same ids.
    """

    ids: list[str]
    index: int | None = None


@dataclass(frozen=True)
class Aborted:
    """These requests hold nothing any more; no further output of theirs follows."""

    ids: list[str]


@dataclass(slots=True)  # not frozen: one is made for every token, and freezing doubles what that costs
class Output:
    """New tokens of sequence `index` of request `id`. `finish_reason` is set in the sequence's last output only.

    `stop_reason` is the id of the stop token that ended it (None for the model's own end token); such an ending token
    is part of `token_ids`. `logprobs`, where asked for, is as long as `token_ids`. `prompt_logprobs`, where asked for,
    come with sequence 0 alone, part by part as the prompt is computed: one for each prompt token but the first. Where
    the prompt was to be pooled, `embedding` is its vector, not normalised.
    """

    id: str
    index: int
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_logprobs: list[TokenLogprob] | None = None
    embedding: list[float] | None = None


@dataclass(frozen=True)
class Delta:
    """Everything one step produced for the receiving server."""

    epoch: int
    outputs: list[Output]


@dataclass(frozen=True)
class Failed:
    """One request could not be run or went wrong; nothing more follows for it. `message` is fit for a client."""

    id: str
    code: str
    message: str


@dataclass(frozen=True)
class Histogram:
    """How many observations were at most each bound and above the one before; the last of `counts` has no bound."""

    bounds: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)
    sum: float = 0.0


@dataclass(frozen=True)
class Raised:
    """A kernel that raised while the model ran, and how often. `disabled` says why its op's reference runs instead."""

    op: str
    kernel: str
    count: int
    disabled: str = ""


@dataclass(frozen=True)
class Stats:
    """The engine's state and its totals since start. Sent about once a second while they change.

    `finished` counts sequences by their reason, `drafts` how often tokens were guessed ahead. `memory_bytes` are
    resident; where there is no device with memory of its own the other two are 0.
    """

    epoch: int
    running: int = 0
    waiting: int = 0
    pages_total: int = 0
    pages_used: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    protocol_errors: int = 0
    memory_bytes: int = 0
    device_memory_bytes: int = 0
    device_memory_used_bytes: int = 0
    waiting_reasons: dict[str, int] = field(default_factory=dict)
    computed_tokens: int = 0
    steps: int = 0
    refused: int = 0
    finished: dict[str, int] = field(default_factory=dict)
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    step_seconds: Histogram = field(default_factory=Histogram)
    step_tokens: Histogram = field(default_factory=Histogram)
    queue_seconds: Histogram = field(default_factory=Histogram)
    prefill_seconds: Histogram = field(default_factory=Histogram)
    decode_seconds: Histogram = field(default_factory=Histogram)
    raised: list[Raised] = field(default_factory=list)


@dataclass(frozen=True)
class Ping:
    nonce: int


@dataclass(frozen=True)
class Pong:
    """Answers Ping with its nonce; unasked (nonce 0) it only probes whether the server is still there."""

    nonce: int
    epoch: int


@dataclass(frozen=True)
class Drain:
    """The engine finishes what it has and takes nothing new: new requests belong elsewhere or must be refused."""


ToEngine = Hello | Generate | Abort | Ping
ToServer = Welcome | Delta | Aborted | Failed | Stats | Pong | Drain
Message = ToEngine | ToServer
