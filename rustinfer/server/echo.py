"""The prompt's own tokens in an answer: its text again, and how likely the model found it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from rustinfer.protocol.messages import TokenLogprob, ranked
from rustinfer.text import Tokenizer

from .choice import TokenText, clamped


def echoed(
    ids: Sequence[int], logprobs: Sequence[TokenLogprob], tokenizer: Tokenizer, skipped: frozenset[int]
) -> list[TokenText]:
    """The prompt's tokens; the first has no log-probability, since nothing stands before it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = []
    for at, id in enumerate(ids):
        raw = b"" if id in skipped else tokenizer.token_bytes(id)
        scored = 0 < at <= len(logprobs)
        logprob, top = (clamped(logprobs[at - 1][0]), logprobs[at - 1][1]) if scored else (None, [])
        found.append(TokenText(decoder.decode(raw), raw, logprob, top))
    return found


def scored(
    ids: Sequence[int], logprobs: Sequence[TokenLogprob], tokenizer: Tokenizer
) -> list[dict[str, dict[str, Any]] | None]:
    """vLLM's `prompt_logprobs`: for each token but the first, its own and the best, by id, with their ranks."""
    found: list[dict[str, dict[str, Any]] | None] = [None]
    for id, place in zip(ids[1:], logprobs, strict=False):
        found.append({str(t): _entry(tokenizer.token_bytes(t), p, r) for t, p, r in ranked(id, place)})
    return found


def _entry(raw: bytes, logprob: float, rank: int) -> dict[str, Any]:
    return {"logprob": clamped(logprob), "rank": rank, "decoded_token": raw.decode("utf-8", "replace")}
