"""Messages to frames and back: `[version, kind, payload]`, the payload in MessagePack.

A dataclass travels as the array of its fields in order, a list of numbers as packed little-endian int32 or float64, a
list of tuples as a list for each of their fields. Decoding is typed: whatever does not have exactly the declared shape
is a `ProtocolError`, and no frame can raise anything else.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import get_args

import msgpack  # type: ignore[import-untyped]

from .messages import VERSION, Message, ToEngine, ToServer
from .schema import ProtocolError, coder

__all__ = ["MAX_FRAME", "TO_ENGINE", "TO_SERVER", "ProtocolError", "decode", "encode"]

MAX_FRAME = 256 << 20
"""Bytes of the largest payload: a Welcome carries a whole tokenizer."""
MAX_ITEMS = 1 << 14
"""Items of the longest array or map. The unpacker reserves room for what a header claims, so this bounds that too."""

_VERSION = bytes([VERSION])
TO_ENGINE = {t.__name__.lower().encode(): coder(t) for t in get_args(ToEngine)}
TO_SERVER = {t.__name__.lower().encode(): coder(t) for t in get_args(ToServer)}
_KIND = {t: t.__name__.lower().encode() for t in get_args(Message)}
_ALL = TO_ENGINE | TO_SERVER


def encode(message: Message) -> list[bytes]:
    """Three frames. Raises ProtocolError where a value cannot be written (a token id past int32, a lone surrogate)."""
    kind = _KIND[type(message)]
    try:
        payload: bytes = msgpack.packb(_ALL[kind].encode(message))
    except (ValueError, TypeError, OverflowError) as e:
        raise ProtocolError(f"cannot encode {kind.decode()}: {e}") from None
    return [_VERSION, kind, payload]


def decode(frames: Sequence[bytes], kinds: Container[bytes] | None = None) -> Message:
    """The message in three frames, one of `kinds` (TO_ENGINE or TO_SERVER; both if None). Raises ProtocolError only."""
    if len(frames) != 3:
        raise ProtocolError(f"{len(frames)} frames instead of 3")
    version, kind, payload = frames
    if version != _VERSION:
        raise ProtocolError(f"protocol version {version[:8].hex()} instead of {_VERSION.hex()}")
    if kind not in (_ALL if kinds is None else kinds):
        raise ProtocolError(f"unexpected kind {kind[:32]!r}")
    message: Message = _ALL[kind].decode(_unpack(payload))
    return message


def _unpack(payload: bytes) -> object:
    if len(payload) > MAX_FRAME:
        raise ProtocolError(f"payload of {len(payload)} bytes")
    try:
        # Nesting is bounded by the unpacker itself (StackError), length by the limits here, types by the coder.
        return msgpack.unpackb(
            payload, strict_map_key=True, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS, max_ext_len=0
        )
    except (ValueError, TypeError, MemoryError, RecursionError, msgpack.UnpackException) as e:
        raise ProtocolError(f"not MessagePack within the limits: {type(e).__name__}") from None
