"""Words that must not come, as tokens: what the engine can match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .checks import ParameterError
from .sampling import MAX_BAD_WORD, SamplingParams


def tokenized(params: SamplingParams, encode: Callable[[str], list[int]]) -> SamplingParams:
    """The same parameters with each bad word as token ids; `encode` adds no special tokens.

    As in vLLM a word is forbidden as it is, and after a space where the space becomes part of the word's first token.
    """
    if not params.bad_words:
        return params
    lists = [ids for word in params.bad_words for ids in _forms(word, encode)]
    known = [tuple(ids) for ids in params.bad_words_token_ids]
    return replace(params, bad_words=(), bad_words_token_ids=(*known, *dict.fromkeys(lists)))


def _forms(word: str, encode: Callable[[str], list[int]]) -> list[tuple[int, ...]]:
    plain, spaced = (tuple(encode(prefix + word.lstrip())) for prefix in ("", " "))
    if not plain or len(plain) > MAX_BAD_WORD:
        raise ParameterError("bad_words", f"must be words of 1 to {MAX_BAD_WORD} tokens; {word[:50]!r} is not")
    return [plain, spaced] if len(spaced) == len(plain) and spaced[0] != plain[0] else [plain]
