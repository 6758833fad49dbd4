"""The process behind `gate`: reads bodies from its input, and writes what is wrong with each, or null."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any, BinaryIO

from rustinfer.protocol.codec import decode
from rustinfer.protocol.messages import Welcome

from . import body
from .errors import ApiError, internal_error
from .openai import check_name
from .served import Served


def main() -> None:
    """Until the server closes the pipe."""
    os.nice(5)  # open streams go first
    pipe, out = sys.stdin.buffer, sys.stdout.buffer
    welcome = decode([_read(pipe) for _ in range(3)])
    assert isinstance(welcome, Welcome)
    served = Served(welcome)
    while head := pipe.read(4):
        name, names = json.loads(pipe.read(int.from_bytes(head)))
        answer = json.dumps(verdict(_read(pipe), name, names, served)).encode()
        out.write(len(answer).to_bytes(4) + answer)
        out.flush()


def verdict(raw: bytes, name: str, names: list[str] | None, served: Served) -> dict[str, Any] | None:
    """What the error would be made of; None where all is well."""
    module, _, attribute = name.partition(":")
    try:
        content = body.parse(raw)
        check_name(content.get("model"), names)
        getattr(import_module(module), attribute)(content, served)
    except ApiError as e:
        return vars(e)
    except Exception:
        return vars(internal_error())
    return None


def _read(pipe: BinaryIO) -> bytes:
    return pipe.read(int.from_bytes(pipe.read(4)))


if __name__ == "__main__":
    main()
