"""What is done with the bytes of one input, and the inputs that are kept: see fuzz.py."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from pathlib import Path

from rustinfer.protocol.codec import TO_ENGINE, TO_SERVER, ProtocolError, decode, encode
from rustinfer.protocol.messages import VERSION, Message

CORPUS = Path(__file__).with_name("corpus.txt")
"""One input a line, in hexadecimal: together they take every way through the decoder that was found so far."""
KINDS = [*TO_ENGINE, *TO_SERVER]


def frames(data: bytes) -> list[bytes]:
    """The first byte picks a kind, or that the rest be cut anyhow: most inputs are to get past the first checks."""
    if not data:
        return []
    pick, rest = data[0], data[1:]
    if pick < len(KINDS):
        return [bytes([VERSION]), KINDS[pick], rest]
    return [rest[at : at + pick] for at in range(0, len(rest), pick)]


def seed(message: Message) -> bytes:
    """The input that becomes this message."""
    _, kind, payload = encode(message)
    return bytes([KINDS.index(kind)]) + payload


def one(data: bytes) -> bool:
    """Try one input. Says whether it was a message."""
    try:
        message = decode(frames(data))
    except ProtocolError:
        return False
    again = decode(encode(message))
    assert again == message or has_nan(message), message
    return True


def has_nan(value: object) -> bool:
    """Whether there is a number in it that is not equal to itself."""
    if is_dataclass(value):
        return any(has_nan(getattr(value, each.name)) for each in fields(value))
    if isinstance(value, dict):
        return any(map(has_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_nan, value))
    return isinstance(value, float) and math.isnan(value)
