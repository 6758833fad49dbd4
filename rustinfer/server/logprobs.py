"""Log-probabilities as the two endpoints write them."""

from __future__ import annotations

from typing import Any

from rustinfer.text import Tokenizer

from .choice import TokenText, clamped


def chat(tokens: list[TokenText], tokenizer: Tokenizer, count: int) -> dict[str, Any]:
    """The sampled tokens with `count` alternatives each, best first."""
    return {"content": [_chat_token(t, tokenizer, count) for t in tokens], "refusal": None}


def _chat_token(token: TokenText, tokenizer: Tokenizer, count: int) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": token.logprob,
        "bytes": list(token.raw),
        "top_logprobs": [_alternative(tokenizer.token_bytes(id), p) for id, p in token.top[:count]],
    }


def _alternative(raw: bytes, logprob: float) -> dict[str, Any]:
    return {"token": raw.decode("utf-8", "replace"), "logprob": clamped(logprob), "bytes": list(raw)}


def completion(tokens: list[TokenText], tokenizer: Tokenizer, count: int, offset: int) -> dict[str, Any]:
    """Four lists of one length; `offset` is where in the text the first token begins."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t.logprob for t in tokens],
        "top_logprobs": [_named(t, tokenizer, count) for t in tokens] if count else None,
        "text_offset": offsets,
    }


def _named(token: TokenText, tokenizer: Tokenizer, count: int) -> dict[str, float] | None:
    """By name, the sampled token among them. Of two tokens with one name the better stays."""
    if token.logprob is None:
        return None
    named = {label(tokenizer.token_bytes(id), id): clamped(p) for id, p in reversed(token.top[:count])}
    if token.raw and token.logprob not in named.values():
        named.setdefault(label(token.raw, 0), token.logprob)
    return named


def label(raw: bytes, id: int) -> str:
    """A token's text, or its bytes spelt out where they are no text, as OpenAI does."""
    try:
        return raw.decode("utf-8") or f"token_id:{id}"
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{b:02x}" for b in raw)
