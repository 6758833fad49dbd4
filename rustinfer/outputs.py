"""What `LLM` answers with, under the names that vLLM's users know. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from .protocol.messages import FinishReason


@dataclass(frozen=True)
class Logprob:
    """One token's log-probability. `rank` counts from 1, among all of the vocabulary."""

    logprob: float
    rank: int
    decoded_token: str


@dataclass
class CompletionOutput:
    """One continuation. `stop_reason` is the stop string or stop token that ended it; or what went wrong.

    `token_ids` holds every token that was computed up to the end, an end token included; `text` holds none of it.
    `logprobs` has, for each token, a dictionary by token id: the sampled token first, then the best ones.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """A prompt and its continuations, by index. `num_cached_tokens` of the prompt were found in the prefix cache.

    `prompt_logprobs`, where asked for, has a dictionary for each prompt token: that token first, then the best ones;
    None for the first, which follows nothing.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = False
    num_cached_tokens: int = 0
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


@dataclass(frozen=True)
class CompletionDelta:
    """What one step added to a continuation. The last one of each index has a `finish_reason`."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
