"""A checkpoint's tokenizer: text to ids, ids to text, and the bytes that one id stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from tokenizers import Tokenizer as Implementation

from .errors import TextError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_characters() -> dict[int, str]:
    """The printable character that byte-level vocabularies write for each byte, as GPT-2 fixed it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_NONE = 256
_BYTES = dict.fromkeys(range(256), _NONE) | {ord(character): byte for byte, character in byte_characters().items()}
"""From code points to bytes, for `str.translate`: what stands for none becomes what Latin-1 lacks."""


class Tokenizer:
    """Encodes and decodes with the tokenizer of a `tokenizer.json`, given as text. Safe to share between threads.

    Truncation and padding that the file asks for are switched off: a prompt is never cut in silence.
    """

    def __init__(self, source: str) -> None:
        try:
            described = json.loads(source)
            decoder = described.get("decoder")
            self._implementation: Any = Implementation.from_str(source)
        except Exception as error:  # the library raises bare Exception
            raise TextError(f"the tokenizer cannot be read: {first_line(error)}") from None
        self._implementation.no_truncation()
        self._implementation.no_padding()
        self.source = source
        self.kind = _kind(decoder)
        added = self._implementation.get_added_tokens_decoder()
        self.special_ids = frozenset(key for key, token in added.items() if token.special)
        self._added = {key: token.content for key, token in added.items()}
        self._pieces: dict[int, bytes] = {}
        self.longest = self._longest(described)
        """Bytes of text that one token stands for at most; None where a token may stand for any number of them."""

    @property
    def vocab_size(self) -> int:
        """Tokens, those added to the vocabulary included. The model's own vocabulary may be padded beyond it."""
        return int(self._implementation.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text. Chat templates write their own special tokens: encode their output without adding any."""
        try:
            # Of the library's ways only those for several texts let other threads run.
            (found,) = self._implementation.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            ids: list[int] = found.ids
        except Exception as error:
            raise TextError(f"the text cannot be encoded: {first_line(error)}") from None
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of a whole sequence. Ids outside of the vocabulary stand for nothing."""
        known = [token_id for token_id in ids if 0 <= token_id < 1 << 32]
        (text,) = self._implementation.decode_batch([known], skip_special_tokens=skip_special_tokens)
        return str(text)

    def token(self, token_id: int) -> str | None:
        """How the vocabulary writes a token, which need not be its text. None for an unknown id."""
        token: str | None = self._implementation.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        return token

    def find(self, token: str) -> int | None:
        """The id of a token as the vocabulary writes it. None for an unknown one."""
        found: int | None = self._implementation.token_to_id(token)
        return found

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to the text, in the middle of one: perhaps half a code point. Empty for an unknown id."""
        piece = self._pieces.get(token_id)
        if piece is None:
            piece = self._pieces[token_id] = self._bytes_of(token_id)
        return piece

    def _longest(self, described: dict[str, Any]) -> int | None:
        normaliser = (described.get("normalizer") or {}).get("type")
        if self.kind != "byte-level" or normaliser not in (None, "NFC") or _swallows(described):
            return None
        # Composing puts at most nine bytes into three.
        return (3 if normaliser else 1) * max(map(len, map(str.encode, _names(described))), default=1)

    def _bytes_of(self, token_id: int) -> bytes:
        token = self.token(token_id)
        if token is None:
            return b""
        if self.kind == "byte-level":
            try:  # a look at each character in Python would take three times as long, for 100,000 tokens
                return token.translate(_BYTES).encode("latin-1")
            except UnicodeEncodeError:
                return token.encode()
        if token_id in self._added:
            return self._added[token_id].encode()
        if self.kind == "sentencepiece":
            byte = _BYTE.fullmatch(token)
            return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode()
        return self._after_itself(token_id).encode()

    def _after_itself(self, token_id: int) -> str:
        # Any other decoder may treat the first token apart, so look at what a second one of the same adds.
        return self.decode([token_id] * 2, False)[len(self.decode([token_id], False)) :]


def _names(described: dict[str, Any]) -> Iterable[str]:
    """Every token as the vocabulary writes it: the library would copy them all, which takes as long as reading them."""
    vocabulary = described["model"]["vocab"]
    tokens = vocabulary if isinstance(vocabulary, dict) else (token for token, _ in vocabulary)
    return chain(tokens, (token["content"] for token in described.get("added_tokens") or ()))


def _swallows(described: dict[str, Any]) -> bool:
    """Whether there is text that becomes part of no token, or any amount of space that becomes part of one."""
    greedy = any(token.get("lstrip") or token.get("rstrip") for token in described.get("added_tokens") or ())
    splits = json.dumps(described.get("pre_tokenizer"))
    return greedy or "Removed" in splits or "Whitespace" in splits


def _kind(decoder: object) -> str:
    """How the vocabulary writes bytes, judged by the decoder's description."""
    text = json.dumps(decoder, ensure_ascii=False)
    if '"ByteLevel"' in text:
        return "byte-level"
    return "sentencepiece" if '"ByteFallback"' in text or '"Metaspace"' in text else "other"


def first_line(error: BaseException) -> str:
    """An exception's message, cut to one line of at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
