"""Why a request is not run."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Refused, UserError


class RequestRefused(UserError):
    """This one request cannot be run here: the message says why, with numbers; `code` is a word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EngineDead(Exception):
    """The device or the process is beyond recovery: every further step would fail."""


class UnknownArchitecture(Refused):
    """No plugin knows the checkpoint's architecture."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"no installed plugin knows the architecture {name}; known: {', '.join(sorted(known)) or 'none'} "
            "(`rustinfer plugins` lists what is installed)"
        )
