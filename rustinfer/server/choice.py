"""One choice of an answer: tokens in, text and log-probabilities out."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from rustinfer.protocol.messages import FinishReason, Output, TokenLogprob
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.text import TextStream, Tokenizer

LOWEST = -9999.0
"""JSON has no minus infinity, so an impossible token has this log-probability."""


@dataclass(frozen=True)
class TokenText:
    """A token with its part of the text: its bytes, and the characters that it completes.

    `logprob` is None for a prompt's first token only.
    """

    text: str
    raw: bytes
    logprob: float | None
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Part:
    """What is new of a choice. `finish_reason` is set in the last part; `stopped_early` where text ended it."""

    text: str
    tokens: list[TokenText] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    stopped_early: bool = False
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    embedding: list[float] | None = None


class Choice:
    """Not reusable. `completion_tokens` counts what was used, the ending token included, beyond a stop string not."""

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        keep, self._tokenizer = params.include_stop_str_in_output, tokenizer
        self._wants_logprobs = params.logprobs is not None
        self._skipped = tokenizer.special_ids if params.skip_special_tokens else frozenset()
        self._stream = TextStream(tokenizer, params.stop, params.skip_special_tokens, keep, params.min_tokens)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.completion_tokens = 0
        self.finished = False

    def take(self, output: Output) -> Part:
        delta = self._stream.take(output.token_ids, output.finish_reason)
        self.completion_tokens += delta.tokens
        tokens = self._tokens(output.token_ids[: delta.told], output.logprobs or [])
        early = delta.stopped is not None and output.finish_reason is None
        reason: FinishReason | None = output.finish_reason if delta.stopped is None else "stop"
        why = output.stop_reason if delta.stopped is None else delta.stopped
        self.finished = reason is not None
        return Part(delta.text, tokens, reason, why, early, output.prompt_logprobs or [], output.embedding)

    def _tokens(self, ids: list[int], logprobs: list[TokenLogprob]) -> list[TokenText]:
        if not self._wants_logprobs:
            return []
        found = []
        for id, (logprob, top, _) in zip(ids, logprobs, strict=False):
            raw = b"" if id in self._skipped else self._tokenizer.token_bytes(id)
            found.append(TokenText(self._decoder.decode(raw), raw, clamped(logprob), top))
        return found


def clamped(logprob: float) -> float:
    """A finite number of at most 0."""
    return min(max(logprob, LOWEST), 0.0) if logprob == logprob else LOWEST
