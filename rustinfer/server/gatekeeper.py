"""The process behind `gate`: reads bodies, and writes what is wrong with each, or null and what is known of it."""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import import_module
from typing import Any, BinaryIO

from rustinfer.protocol.codec import decode
from rustinfer.protocol.messages import Welcome

from . import body
from .errors import ApiError, dump, internal_error
from .fields import essence
from .openai import check_name
from .served import Served

log = logging.getLogger(__name__)


def main() -> None:
    """Until the server closes the pipe."""
    os.nice(5)  # open streams go first
    pipe, out = sys.stdin.buffer, sys.stdout.buffer
    welcome = decode([_read(pipe) for _ in range(3)])
    assert isinstance(welcome, Welcome)
    served = Served(welcome)
    while head := pipe.read(4):
        name, names = json.loads(pipe.read(int.from_bytes(head)))
        wrong, known = verdict(_read(pipe), name, names, served)
        for frame in (json.dumps(wrong).encode(), known):
            out.write(len(frame).to_bytes(4) + frame)
        out.flush()


def verdict(raw: bytes, name: str, names: list[str] | None, served: Served) -> tuple[dict[str, Any] | None, bytes]:
    """What the error would be made of; where all is well None, and the body without what nobody here knows."""
    module, _, attribute = name.partition(":")
    try:
        content = body.parse(raw)
        check_name(content.get("model"), names)
        getattr(import_module(module), attribute)(content, served)
        return None, dump(essence(content))
    except ApiError as e:
        return vars(e), b""
    except Exception:
        log.exception("a large request could not be judged")
        return vars(internal_error()), b""


def _read(pipe: BinaryIO) -> bytes:
    return pipe.read(int.from_bytes(pipe.read(4)))


if __name__ == "__main__":
    main()
