"""Answers of unusual size, such as log-probabilities of many choices: written in a thread, in pieces that take little.

A thread alone would not do: writing JSON is one call that holds the interpreter's lock, for seconds if it is large.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from .errors import JSON, dump

INLINE = 2000
"""JSON values that are written at once, in less than a millisecond."""
BLOCK_BYTES = 1 << 18
SOME = 100
"""Items of a list, each of some dozen values, that are freed at once."""


async def respond(content: Any, headers: dict[str, str], *, kept: bool = False) -> Response:
    """The response with this JSON; others have their turn while it is written. What is not `kept` is used up."""
    if weight(content) <= INLINE:
        return JSON(content, headers=headers)
    written = await asyncio.to_thread(lambda: list(blocks(content, kept=kept)))
    headers = {**headers, "content-length": str(sum(map(len, written)))}
    return StreamingResponse(_each(written), headers=headers, media_type=JSON.media_type)


async def _each(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in content:
        yield block


def weight(value: Any) -> int:
    """About how many values there are in it. Looks into the last item of a list only: the first may have no score."""
    if isinstance(value, dict):
        return 1 + sum(map(weight, value.values()))
    if isinstance(value, list):
        return 1 + (len(value) * weight(value[-1]) if value else 0)
    return 1 + len(value) // 1000 if isinstance(value, str) else 1


def drop(values: list[Any]) -> None:
    """Empty a long list, some of it at a time: freeing all of it is one call, too."""
    while values:
        del values[-SOME:]


def blocks(value: Any, *, kept: bool = True) -> Iterator[bytes]:
    """Its JSON, in blocks of similar size."""
    found, size = [], 0
    for piece in pieces(value, kept=kept):
        found.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(found)
            found, size = [], 0
    yield b"".join(found)


def pieces(value: Any, *, kept: bool = True) -> Iterator[bytes]:
    """Its JSON, in pieces of at most about `INLINE` values each, which go once written unless they are kept."""
    if weight(value) <= INLINE or not isinstance(value, (dict, list)):
        yield dump(value)
    elif isinstance(value, dict):
        for number, (name, inner) in enumerate(value.items()):
            yield (b"," if number else b"{") + dump(name) + b":"
            yield from pieces(inner, kept=kept)
        yield b"}"
    else:
        step = max(INLINE // weight(value[-1]), 1)
        for start in range(0, len(value), step):
            yield b"," if start else b"["
            if step > 1:
                yield dump(value[start : start + step])[1:-1]
            else:
                yield from pieces(value[start], kept=kept)
            if not kept:
                value[start : start + step] = [None] * len(value[start : start + step])
        yield b"]"
